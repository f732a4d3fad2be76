"""Detection of a hundred formats of secrets in many encodings, and hundreds of strings that only resemble one.

No secret here is real: bodies are random with a seed, and prefixes are concatenated when the tests run, so that secret
scanners do not report this file.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import random
import string
from collections.abc import Callable
from pathlib import Path

import pytest

from hf_speech.errors import HFSpeechError, ModelError, PublishError
from hf_speech.publishing.checks import run_checks
from hf_speech.publishing.checks.decoding import readings
from hf_speech.publishing.checks.secret_patterns import looks_generated
from hf_speech.publishing.checks.secrets import check_name, find_secret, redact, without_secrets
from hf_speech.publishing.checks.upload import Upload

RANDOM = random.Random(20)
ALPHABETS = {
    "a": string.ascii_letters + string.digits,
    "u": string.ascii_letters + string.digits + "_-",
    "x": string.digits + "abcdef",
    "U": string.ascii_uppercase + string.digits,
    "l": string.ascii_lowercase,
    "d": string.digits,
    "b": string.ascii_letters + string.digits + "+/",
}


def body(kind: str, length: int) -> str:
    """Returns a random body whose first and last characters are letters or digits."""
    drawn = [RANDOM.choice(ALPHABETS[kind]) for _ in range(length)]
    ends = ALPHABETS["a" if kind in "ub" else kind]
    return "".join([RANDOM.choice(ends), *drawn[1:-1], RANDOM.choice(ends)])


# Each form: its parts, of which a tuple is a kind of body and its length.
Part = str | tuple[str, int]
FORMS: list[tuple[Part, ...]] = [
    *((prefix, ("a", 34)) for prefix in ("hf" + "_", "api" + "_org_")),
    *((f"gh{kind}" + "_", ("a", 36)) for kind in "pousr"),
    ("github" + "_pat_", ("a", 22), "_", ("a", 59)),
    *(
        (f"gl{kind}" + "-", ("u", 20))
        for kind in ("pat", "dt", "ft", "soat", "cbt", "rt", "ptt", "imt", "agent", "oas")
    ),
    ("sk-" + "ant-api03-", ("u", 93)),
    *((f"sk-{kind}" + "-", ("u", 48)) for kind in ("proj", "svcacct", "admin")),
    ("sk" + "-", ("a", 48)),
    ("sk-" + "or-v1-", ("x", 64)),
    ("sk-" + "lf-", ("x", 8), "-", ("x", 4), "-", ("x", 4), "-", ("x", 4), "-", ("x", 12)),
    ("xai" + "-", ("a", 80)),
    ("pplx" + "-", ("a", 48)),
    ("nvapi" + "-", ("u", 64)),
    ("gs" + "k_", ("a", 52)),
    ("r8" + "_", ("a", 37)),
    ("fw" + "_", ("a", 24)),
    ("csk" + "-", ("a", 48)),
    ("pcsk" + "_", ("a", 60)),
    ("pa" + "-", ("u", 43)),
    ("rpa" + "_", ("a", 43)),
    ("lsv2" + "_pt_", ("x", 32), "_", ("x", 10)),
    ("sk" + "_", ("x", 48)),
    ("wandb" + "_v1_", ("a", 70)),
    ("KGAT" + "_", ("x", 32)),
    ("AI" + "za", ("u", 35)),
    ("ya" + "29.", ("u", 60)),
    ("1/" + "/0", ("u", 60)),
    ("GOC" + "SPX-", ("u", 28)),
    *((f"xox{kind}" + "-", ("d", 12), "-", ("d", 12), "-", ("a", 24)) for kind in "abp"),
    ("xapp" + "-1-A0", ("U", 9), "-", ("d", 13), "-", ("x", 64)),
    *((f"{kind}_{mode}" + "_", ("a", 24)) for kind in ("sk", "rk") for mode in ("live", "test")),
    ("whsec" + "_", ("a", 32)),
    ("sq0" + "csp-", ("u", 43)),
    ("SG" + ".", ("u", 22), ".", ("u", 43)),
    *((prefix, ("x", 32)) for prefix in ("S" + "K", "A" + "C")),
    ("key" + "-", ("x", 32)),
    ("npm" + "_", ("a", 36)),
    ("pypi" + "-AgE", ("u", 100)),
    ("rubygems" + "_", ("x", 48)),
    ("ci" + "o", ("a", 32)),
    ("dckr" + "_pat_", ("u", 27)),
    ("da" + "pi", ("x", 32)),
    *((f"do{kind}" + "_v1_", ("x", 64)) for kind in "opr"),
    ("hvs" + ".", ("u", 90)),
    ("pul" + "-", ("x", 40)),
    ("HRKU" + "-", ("u", 58)),
    ("fo1" + "_", ("u", 43)),
    ("nfp" + "_", ("a", 40)),
    ("sbp" + "_", ("x", 40)),
    ("sb" + "_secret_", ("a", 31)),
    ("pscale" + "_tkn_", ("a", 43)),
    ("tskey" + "-auth-", ("a", 12), "-", ("a", 32)),
    ("dp" + ".pt.", ("a", 43)),
    ("glsa" + "_", ("a", 32), "_", ("x", 8)),
    ("glc" + "_", ("a", 60)),
    ("NRAK" + "-", ("U", 27)),
    ("sntryu" + "_", ("x", 64)),
    ("PMAK" + "-", ("x", 24), "-", ("x", 34)),
    ("ATATT" + "3xFfGF0", ("u", 180)),
    ("ATBB" + "", ("a", 32)),
    ("lin" + "_api_", ("a", 40)),
    ("ntn" + "_", ("a", 46)),
    ("secret" + "_", ("a", 43)),
    ("figd" + "_", ("u", 40)),
    ("pa" + "t", ("a", 14), ".", ("x", 64)),
    *((f"shp{kind}" + "_", ("x", 32)) for kind in ("at", "ca", "pa", "ss")),
    ("LTAI" + "5t", ("a", 18)),
    ("AQVN" + "", ("u", 36)),
    ("AKI" + "A7Q", ("U", 14)),
    ("AGE-SECRET" + "-KEY-1", ("U", 58)),
    (("d", 10), ":A" + "A", ("a", 33)),
    ("ey" + "J", ("a", 30), ".ey" + "J", ("a", 60), ".", ("u", 43)),
    ("https://hooks.slack" + ".com/services/T", ("U", 8), "/B", ("U", 8), "/", ("a", 24)),
    ("https://discord" + ".com/api/webhooks/", ("d", 18), "/", ("u", 68)),
    ("https://ann:", ("a", 14), "@git.example.org/x.git"),
    ("https://:", ("a", 14), "@git.example.org/x.git"),
    ("https://", ("x", 40), "@git.example.org/x.git"),
    ("Account" + "Key=", ("b", 86), "=="),
    ("Shared" + "AccessKey=", ("b", 43), "="),
    ("https://x.blob.core.windows.net/c?sv=2024&" + "sig=", ("a", 43), "%3D"),
    ("Author" + "ization: Bearer ", ("u", 40)),
    ("HF_" + "TOKEN=", ("a", 37)),
    ("WANDB_API" + "_KEY=", ("x", 40)),
    ("password" + "=", ("a", 10), "7k"),
    ("client" + "_secret=", ("a", 28), "3z"),
    ("glrt" + "-", ("u", 26)),
]
SECRETS = ["".join(part if isinstance(part, str) else body(*part) for part in form) for form in FORMS]


def split(secret: str) -> list[str]:
    """Splits a secret into four pieces that do not end with a separator."""
    step = -(-len(secret) // 4)
    return [secret[start : start + step] for start in range(0, len(secret), step)]


HIDING_PLACES: dict[str, Callable[[str], str]] = {
    "JSON escapes": lambda secret: '{"note": "' + "".join(f"\\u{ord(sign):04x}" for sign in secret) + '"}',
    "JSON in JSON": lambda secret: json.dumps({"a": json.dumps({"b": json.dumps(f"first\nhere: {secret}\nlast")})}),
    "YAML escapes": lambda secret: f'note: "\\x{ord(secret[0]):02x}{secret[1:7]}\\\n    {secret[7:]}"\n',
    "Base64": lambda secret: json.dumps({"note": base64.b64encode(f"it is {secret}".encode()).decode()}),
    "Base64 of gzip": lambda secret: base64.b64encode(gzip.compress(f"{secret}\n{secret}".encode())).decode(),
    "URL-safe Base64": lambda secret: f"note: {base64.urlsafe_b64encode(secret.encode()).decode().rstrip('=')}\n",
    "Base64 over lines": lambda secret: base64.encodebytes(f"some words first, then {secret}".encode()).decode(),
    "hexadecimal": lambda secret: f"path,text\n1.wav,{secret.encode().hex()}\n",
    "zero-width characters": lambda secret: f"{secret[:5]}\u200b{secret[5:9]}\ufeff{secret[9:12]}\u00ad{secret[12:]}",
    "HTML entities": lambda secret: f"<p>&#{ord(secret[0])};{secret[1:]}</p>",
    "URL escapes": lambda secret: f"https://example.org/?q=%{ord(secret[0]):02X}{secret[1:]}",
}
# Of forms that consist of a body and have no words or punctuation of their own.
SPLITS: dict[str, Callable[[str], str]] = {
    "list of JSON": lambda secret: json.dumps({"parts": split(secret)}, indent=1),
    "list of YAML": lambda secret: "parts:\n" + "".join(f"  - {part}\n" for part in split(secret)),
    "folded YAML": lambda secret: "note: >\n" + "".join(f"  {part}\n" for part in split(secret)),
    "strings side by side": lambda secret: "x = (" + "\n     ".join(f'"{part}"' for part in split(secret)) + ")\n",
    "words joined by an underscore": lambda secret: f"path,text\nword_{secret}_word.wav,one\n",
}


def test_detects_a_hundred_formats() -> None:
    assert len(set(SECRETS)) >= 100


@pytest.mark.parametrize("place", HIDING_PLACES)
def test_detects_encoded_secrets(place: str) -> None:
    passed = [secret for secret in SECRETS if find_secret(HIDING_PLACES[place](secret)) is None]
    assert passed == []


@pytest.mark.parametrize("place", SPLITS)
def test_detects_split_tokens(place: str) -> None:
    tokens = [secret for secret in SECRETS if "_" in secret[:9] and secret.isascii() and "=" not in secret]
    assert len(tokens) > 30
    passed = [secret for secret in tokens if find_secret(SPLITS[place](secret)) is None]
    assert passed == []


def test_detects_secrets_in_file_names() -> None:
    for secret in SECRETS:
        if "/" not in secret:  # A part of the form, where there is one.
            with pytest.raises(PublishError) as error:
                check_name(f"evaluation/test_{secret}.csv")
            assert secret not in str(error.value)


@pytest.mark.parametrize("index", range(0, len(SECRETS), 12))
def test_messages_never_show_the_secret(tmp_path: Path, index: int) -> None:
    secret = SECRETS[index]
    (tmp_path / "recipe.yaml").write_text(f"note: '{secret}'\n")
    with pytest.raises(PublishError, match=r"recipe\.yaml, line 1, has ") as error:
        run_checks(Upload(tmp_path, "dataset"))
    assert secret not in str(error.value)
    assert secret[-12:] not in str(error.value)


def innocent() -> list[str]:
    """Returns strings that are not secrets: digests, sound, identifiers, joined and common words."""
    found = [hashlib.new(name, str(n).encode()).hexdigest() for n in range(10) for name in ("md5", "sha1", "sha256")]
    found += [f"sha256:{hashlib.sha256(str(n).encode()).hexdigest()}" for n in range(10)]
    found += [f'"git_commit": "{hashlib.sha1(str(n).encode()).hexdigest()}-dirty"' for n in range(10)]
    sound = random.Random(1)
    found += [base64.b64encode(sound.randbytes(600)).decode() for _ in range(40)]
    found += [base64.encodebytes(sound.randbytes(600)).decode() for _ in range(20)]
    found += [base64.urlsafe_b64encode(sound.randbytes(300)).decode() for _ in range(20)]
    found += [sound.randbytes(40).hex() for _ in range(20)]
    words = ["speech", "model", "feature", "extraction", "layer", "recurrent", "token", "label", "sample", "batch"]
    words += ["epoch", "digit", "spoken", "test"]
    found += ["_".join(sound.choices(words, k=8)) for _ in range(20)]
    found += [f"hf_{'_'.join(sound.choices(words, k=5))}" for _ in range(10)]
    found += ["".join(word.capitalize() for word in sound.choices(words, k=6)) for _ in range(10)]
    found += [" ".join(sound.choices(words, k=30)).upper() for _ in range(10)]
    found += [f"{sound.random():.6f},{sound.random():.6f},{n}.wav,s{n}" for n in range(20)]
    found += [json.dumps({word: n for n, word in enumerate(string.printable)})]
    found += ["\n".join(f"-{sound.random():.4f}\t{word.upper()}\t-{sound.random():.4f}" for word in words)]
    found += [
        *("hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "HF_TOKEN=...", "export HF_TOKEN=$TOKEN", "HF_TOKEN=READ_TOKEN"),
        *('"pad_token": "<pad>", "eos_token_id": 2', "word_delimiter_token: '|'", "token = get_token()"),
        *("password: null", "api_key: os.environ['API_KEY']", "api_key=None", "secret: ${{ secrets.TOKEN }}"),
        *("https://user@example.org", "https://github.com/org/repo", "sk-learn-intelex and task-classification"),
        *("ssh://git@example.org/x.git", "key-value pairs", "doi:10.5281/zenodo.1342401", "SKATE AKIMBO ASIA PACIFIC"),
        *("0123456789abcdef" * 4, "ffffffffffffffffffffffffffffffffffffffff", "a.wav b.wav c.wav d.wav", "AIza", "eyJ"),
        *("token_classification_with_speech_lstm_for_audio", "secret_santa_and_other_words_of_a_long_sentence"),
    ]
    return found


def test_accepts_harmless_strings() -> None:
    strings = innocent()
    assert len(strings) >= 200
    refused = [(found.kind, text[:120]) for text in strings if (found := find_secret(text)) is not None]
    assert refused == []


def test_accepts_harmless_strings_in_one_file() -> None:
    assert find_secret("\n".join(innocent())) is None
    assert find_secret(json.dumps(innocent(), indent=1)) is None


@pytest.mark.parametrize("hidden", [r"\\\\u0068i", r"\x68i", "%68i", "&#104;i", "h\u200bi", "\uff48\uff49"])
def test_decodes_escapes(hidden: str) -> None:
    assert any("hi" in reading.text for reading in readings(f"oh, {hidden}"))


def test_reports_line_numbers_of_decoded_text() -> None:
    text = "one\ntwo\n" + base64.b64encode(b"a whole sentence in Base64").decode()
    found = next(reading for reading in readings(text) if "a whole sentence" in reading.text)
    assert found.line(found.text.index("a whole")) == 3


@pytest.mark.parametrize(
    ("text", "generated"),
    [("aB3dE6gH9jK2", True), ("speechlstmforaudio", False), ("xxxxxxxxXXXX0000", False), ("0a1b2c3d4e5f", True)],
)
def test_recognizes_generated_strings(text: str, generated: bool) -> None:
    assert looks_generated(text) == generated


def test_redacts_secrets_in_errors() -> None:
    token = SECRETS[0]
    for message in (f"There is no folder runs/{token}.", f"{token}", f"a\u200b {token[:9]}\u200b{token[9:]} b"):
        with pytest.raises(ModelError) as error, without_secrets():
            raise ModelError(message)
        assert find_secret(str(error.value)) is None
        assert error.value.__cause__ is None
        assert error.value.__suppress_context__
    assert redact("There is no folder runs/one.") == "There is no folder runs/one."
    with pytest.raises(HFSpeechError, match="as it was"), without_secrets():
        raise PublishError("as it was")
