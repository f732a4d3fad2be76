"""All kinds of forbidden content: pickles, programs, secrets, local paths, and harmless look-alikes."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import py_compile
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file

from hf_speech.errors import PublishError
from hf_speech.publishing.checks import executables, run_checks
from hf_speech.publishing.checks.executables import detect_executable
from hf_speech.publishing.checks.private_paths import find_path, shorten_paths
from hf_speech.publishing.checks.secrets import check_name, find_secret
from hf_speech.publishing.checks.upload import MAX_FILE_BYTES, Upload

REPOSITORY = Path(__file__).resolve().parents[2]
PICTURE = (REPOSITORY / "pretrained" / "an4" / "curves.png").read_bytes()


def check_files(folder: Path, max_file_bytes: int) -> None:
    """Runs the checks of files, without those of models."""
    run_checks(Upload(folder, "dataset", max_file_bytes=max_file_bytes))


def check_beside(folder: Path, names: list[str]) -> None:
    """Runs the checks of files that staging leaves out."""
    for name in names:
        check_name(name)
        executables.check_beside(folder / name, name, folder)


class Culprit:
    """Runs the command `true` when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("true",)


def zipped(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def tarred(name: str, content: bytes, mode: str = "w:gz") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def saved_by_torch(*, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def saved_by_numpy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Culprit()], dtype=object), allow_pickle=True)
    return stream.getvalue()


BAD = pickle.dumps(Culprit())
PICKLES: dict[str, bytes] = {
    **{f"protocol {protocol}": pickle.dumps(Culprit(), protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)},
    **{f"harmless, protocol {protocol}": pickle.dumps({"a": [1, 2]}, protocol) for protocol in (0, 2, 4)},
    "without its end": pickle.dumps(Culprit(), 0)[:-1],
    "with rubbish behind": BAD + b"\0\1\2 rubbish",
    "torch.save": saved_by_torch(),
    "torch.save of old": saved_by_torch(legacy=True),
    "NumPy objects": saved_by_numpy(),
    "gzip": gzip.compress(BAD),
    "bzip2": bz2.compress(BAD),
    "xz": lzma.compress(BAD),
    "zlib, as joblib": zlib.compress(BAD),
    "in a zip": zipped("harmless.txt", BAD),
    "in a zip in a zip": zipped("a.zip", zipped("harmless.txt", BAD)),
    "in a tar": tarred("harmless.txt", BAD, "w"),
    "in a tar.gz": tarred("harmless.txt", BAD),
    "a zip with a pickle by name": zipped("data.pkl", b"?"),
}
PROGRAMS: dict[str, bytes] = {
    "ELF": b"\x7fELF\2\1\1" + bytes(64),
    "Windows": b"MZ" + bytes(62) + b"PE\0\0" + bytes(64),
    "macOS": b"\xcf\xfa\xed\xfe" + bytes(64),
    "Java": b"\xca\xfe\xba\xbe" + bytes(64),
    "WebAssembly": b"\0asm\1\0\0\0",
    "in a zip": zipped("lib.so", b"?"),
}


@pytest.mark.parametrize("name", ["model.safetensors", "vocab.json", "curves.png", "LICENSE", "model.py", "lm.arpa"])
@pytest.mark.parametrize("kind", PICKLES)
def test_finds_pickles_under_any_name(tmp_path: Path, kind: str, name: str) -> None:
    (tmp_path / name).write_bytes(PICKLES[kind])
    with pytest.raises(PublishError, match=rf"^{name} is .*(pickle|pickled objects)"):
        check_files(tmp_path, MAX_FILE_BYTES)


@pytest.mark.parametrize("kind", PROGRAMS)
def test_finds_programs_under_any_name(tmp_path: Path, kind: str) -> None:
    (tmp_path / "curves.png").write_bytes(PROGRAMS[kind])
    with pytest.raises(PublishError, match="program"):
        check_files(tmp_path, MAX_FILE_BYTES)


def test_python_bytecode_is_a_program(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("print('hello')")
    compiled = py_compile.compile(str(tmp_path / "x.py"), cfile=str(tmp_path / "compiled"))
    assert compiled is not None
    assert detect_executable(tmp_path / "compiled") == "a program (Python bytecode)"


@pytest.mark.parametrize("suffix", [".pkl", ".bin", ".pt", ".ckpt", ".joblib", ".so", ".exe", ".jar"])
def test_rejects_pickles_by_name_beside_a_run(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"training_args{suffix}").write_bytes(b"?")
    with pytest.raises(PublishError, match=f"training_args{suffix} is a (pickle|program) by its name"):
        check_beside(tmp_path, [f"training_args{suffix}"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("curves.png", PICTURE + zipped("harmless.txt", b"harmless")),  # A file that is both a picture and an archive.
        ("curves.png", PICTURE + b"anything"),
        ("curves.png", b"no picture"),
        ("config.json", b"{'not': 'JSON'}"),
        ("config.json", b'{"value": NaN}'),
        ("recipe.yaml", b"a: !!python/object/apply:os.system [true]"),
        ("recipe.yaml", b"a: [1"),
        ("model.safetensors", b"\x08\0\0\0\0\0\0\0{}      "),
        ("model.safetensors", b"no weights"),
        ("LICENSE", b"\xff\xfe no text"),
        ("notes.txt", b"with a \0 zero"),
        ("model.py", b"def ("),
        ("seven.wav", b"RIFF no sound"),
        ("page.svg", b"<svg><script>alert(1)</script></svg>"),
        ("train.parquet", b"PAR1 cut off"),
        ("model.onnx", b"of a kind that is not published"),
    ],
)
def test_file_contents_match_their_names(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PublishError, match=rf"^{name} (is not a valid file of its type|contains an archive)"):
        check_files(tmp_path, MAX_FILE_BYTES)


def test_rejects_weights_with_trailing_data(tmp_path: Path) -> None:
    save_file({"weight": np.zeros(2, np.float32)}, tmp_path / "model.safetensors")
    check_files(tmp_path, MAX_FILE_BYTES)
    with (tmp_path / "model.safetensors").open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(PublishError, match="not a safetensors file"):
        check_files(tmp_path, MAX_FILE_BYTES)


# Concatenated, so that secret scanners do not report this file.
LETTERS = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0fG"
SECRETS = {
    "a Hugging Face token": "hf" + "_" + LETTERS + "abcd",
    "a Hugging Face organization token": "api" + "_org_" + LETTERS + "ab",
    "a GitHub token": "gh" + "p_" + LETTERS + "abcd",
    "a GitHub token, fine-grained": "github" + "_pat_" + LETTERS + "_" + LETTERS,
    "a GitLab token": "glpat" + "-" + LETTERS[:20],
    "an OpenAI key": "sk" + "-proj-" + LETTERS,
    "an OpenAI key, old": "sk" + "-" + LETTERS + LETTERS[:16],
    "an Anthropic key": "sk" + "-ant-api03-" + LETTERS,
    "an AWS access key": "AKI" + "AABCDEFGHIJKLMNOP"[:17],
    "an AWS secret key": "aws_secret_access" + "_key = " + LETTERS + "aB/dE+gH",
    "a Google API key": "AI" + "za" + LETTERS + "abc",
    "a Google access token": "ya" + "29." + LETTERS,
    "a Google client secret": "GOC" + "SPX-" + LETTERS,
    "a Google service account": '"private_key' + '_id": "' + "0123456789abcdef" * 2 + '"',
    "a Slack token": "xo" + "xb-123456789012-" + LETTERS,
    "a Slack webhook": "https://hooks.slack" + ".com/services/T01234567/B01234567/" + LETTERS[:24],
    "a Discord webhook": "https://discord" + ".com/api/webhooks/123456789012345678/" + LETTERS * 2,
    "a Telegram bot token": "123456789" + ":AA" + LETTERS + "ab",
    "a Stripe key": "sk" + "_live_" + LETTERS,
    "a SendGrid key": "SG" + "." + LETTERS[:22] + "." + LETTERS + "abcdefghijk",
    "a Twilio key": "S" + "K" + "0123456789abcdef" * 2,
    "an npm token": "np" + "m_" + LETTERS + "abcd",
    "a PyPI token": "py" + "pi-AgEIcHlwaS5vcmc" + LETTERS * 2,
    "a Databricks token": "da" + "pi" + "0123456789abcdef" * 2,
    "a Replicate token": "r8" + "_" + LETTERS + "abcdefgh",
    "a Groq key": "gs" + "k_" + LETTERS + "abcdefghijkl",
    "an Azure storage key": "Account" + "Key=" + LETTERS * 2 + "==",
    "a JSON web token": "ey" + "J" + LETTERS + ".ey" + "J" + LETTERS + "." + LETTERS,
    "a private key": "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
    "a private key, PGP": "-----BEGIN PGP " + "PRIVATE KEY BLOCK-----",
    "a private key, PuTTY": "PuTTY-User-" + "Key-File-3: ssh-ed25519",
    "a .netrc login": "machine huggingface.co login anna pass" + "word " + LETTERS[:10],
    "a URL with a password": "https://anna:" + LETTERS[:9] + "@example.org/data",
    "an authorization header": "Author" + "ization: Bearer " + LETTERS[:20],
    "a password or key": "WANDB_API" + "_KEY=" + LETTERS,
    "a password or key, quoted": "pass" + 'word: "' + LETTERS[:14] + '"',
}


@pytest.mark.parametrize("name", ["README.md", "config.json", "modeling_x.py", "evaluation/test.csv"])
@pytest.mark.parametrize("kind", SECRETS)
def test_finds_secrets_without_printing_them(tmp_path: Path, kind: str, name: str) -> None:
    content = f"first line\nhere: {SECRETS[kind]}\nlast line\n"
    if name.endswith(".json"):
        content = '{"a": 1,\n"b": ' + json.dumps(SECRETS[kind]) + "\n}\n"
    elif name.endswith(".py"):
        content = f'"""A docstring.\n{SECRETS[kind]}\n"""\n'
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    with pytest.raises(PublishError) as error:
        check_files(tmp_path, MAX_FILE_BYTES)
    message = str(error.value)
    # Quotes inside JSON are escaped: such a secret is seen in the value alone, which has no line.
    assert re.match(rf"{re.escape(name)}(, line 2| \(a value\)), has {kind.partition(',')[0]}: ", message)
    assert LETTERS[:9] not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("escaped.json", ('{"a": "\\u0068f_' + LETTERS + 'abcd"}').encode()),
        ("curves.png", PICTURE[:33] + b"tEXt hf_" + LETTERS.encode() + b"abcd" + PICTURE[33:]),
    ],
)
def test_finds_secrets_in_unusual_places(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PublishError, match="has a Hugging Face token"):
        check_files(tmp_path, MAX_FILE_BYTES)


def test_finds_secrets_in_headers_and_tables(tmp_path: Path) -> None:
    save_file({"weight": np.zeros(2, np.float32)}, tmp_path / "model.safetensors", {"by": SECRETS["a GitHub token"]})
    with pytest.raises(PublishError, match=r"model\.safetensors \(its header\), has a GitHub token"):
        check_files(tmp_path, MAX_FILE_BYTES)
    (tmp_path / "model.safetensors").unlink()
    rows = [{"text": "hello", "audio": {"path": f"x {SECRETS['a Slack token']}"}}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet", compression="zstd")
    with pytest.raises(PublishError, match=r"train\.parquet \(a column\), has a Slack token"):
        check_files(tmp_path, MAX_FILE_BYTES)


def test_finds_secrets_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE_TOKEN", "correct horse battery")
    monkeypatch.setenv("HF_TOKEN", "not-like-a-token")
    for text in ("correct horse battery", "not-like-a-token"):
        (tmp_path / "notes.txt").write_text(f"It is {text}.")
        with pytest.raises(
            PublishError, match=r"notes\.txt, line 1, has (the value of the env|this machine's)"
        ) as error:
            check_files(tmp_path, MAX_FILE_BYTES)
        assert text not in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        *(
            ".env",
            ".env.local",
            "prod.env",
            ".netrc",
            ".git-credentials",
            "id_rsa",
            "id_ed25519",
            "server.pem",
            "a.key",
        ),
        *("credentials.json", "client_secret.json", "token", ".pypirc", ".npmrc", "key.p12", "service-account-1.json"),
    ],
)
def test_finds_credential_files_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("anything")
    with pytest.raises(PublishError, match="has a name typical of files with passwords or keys"):
        check_beside(tmp_path, [name])


@pytest.mark.parametrize(
    "text",
    [
        "hf_speech.models.feature_extraction_speech_and_other_long_names_of_modules",
        "sk-learn, task-classification-with-many-words-in-a-row-and-more",
        '"pad_token": "<pad>", "unk_token": "<unk>", "word_delimiter_token": "|"',
        "password: null\napi_key: os.environ['API_KEY']",
        "https://github.com/Jakobovski/free-spoken-digit-dataset",
        "sha256:d42550a2f93f76d4680daa24441c879cf390ef9341487d39a8c3f756209f9504",
        "the token is taken from HF_TOKEN",
        "SKATE AKIMBO AIZA XOX EYJ",
    ],
)
def test_accepts_strings_that_resemble_secrets(text: str) -> None:
    assert find_secret(text) is None


PLACES = {
    "/home/anna/corpora/an4": "path/to/an4",
    "/Users/anna/an4/": "path/to/an4",
    "/root/x": "path/to/x",
    "/tmp/run-1/model": "path/to/model",
    "/mnt/data/x.wav": "path/to/x.wav",
    "/content/drive/MyDrive/run": "path/to/run",
    "C:\\Users\\anna\\run": "path/to/run",
    "D:/data/run": "path/to/run",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("form", ["{}", "--data_dir={} --x", '"{}"', "at:{}", "file://{}", "({})", "`{}`"])
def test_finds_and_shortens_local_paths(place: str, form: str) -> None:
    text = "first\n" + form.format(place)
    found = find_path(text)
    assert found is not None
    assert found[1] == 2
    assert shorten_paths(text) == "first\n" + form.format(PLACES[place])


def test_finds_paths_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "srv" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "srv" / "here")
    assert find_path(f"trained in {tmp_path}/srv/here") is not None
    monkeypatch.setenv("HOME", "/srv/people/anna")
    assert find_path("trained in /srv/people/anna") == ("/srv/people/anna", 1)
    assert find_path("trained in /srv/people/annabel") is None


@pytest.mark.parametrize(
    "text",
    [
        "../shared/corpora/an4",
        "runs/digits/model.safetensors",
        "https://example.org/home/anna",
        "/usr/bin/env python3, /dev/null, /proc/cpuinfo and /etc/hosts",
        "and/or, 1/2/3, </td></tr>",
        "~/data/x",
        "A:\nB:\nC",
    ],
)
def test_accepts_strings_that_resemble_paths(text: str) -> None:
    assert find_path(text) is None
    assert shorten_paths(text) == text


def test_rejects_local_paths_in_files(tmp_path: Path) -> None:
    (tmp_path / "modeling_x.py").write_text('"""x"""\nFOLDER = "/home/anna/x"\n')
    with pytest.raises(PublishError, match=r"modeling_x\.py, line 2, names /home/anna/x"):
        check_files(tmp_path, MAX_FILE_BYTES)


def test_rejects_large_files_and_links(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("12345")
    check_files(tmp_path, max_file_bytes=5)
    with pytest.raises(PublishError, match=r"notes\.txt has 5 bytes, more than 4"):
        check_files(tmp_path, max_file_bytes=4)
    (tmp_path / "notes.txt").unlink()
    (tmp_path / "link.txt").symlink_to("/etc/hostname")
    with pytest.raises(PublishError, match=r"link\.txt is a link"):
        check_files(tmp_path, MAX_FILE_BYTES)


def test_accepts_the_files_of_this_project() -> None:
    for folder in sorted((REPOSITORY / "pretrained").iterdir()):
        check_files(folder, MAX_FILE_BYTES)
