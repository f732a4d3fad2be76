"""Beam search in JavaScript equals that in Python."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

import numpy as np
import pytest
import soundfile

from hf_speech.common.files import write_json
from hf_speech.decoding import BeamSearchDecoder, Hypothesis, cut_at_pauses, join_pieces, phone_scores
from hf_speech.decoding.estimation import build_arpa
from hf_speech.export.exporting import export_model
from hf_speech.export.packed_ngrams import FILE, STEPS, pack_language_model
from hf_speech.inference import load_model, transcribe_files
from hf_speech.inference.beam_options import BeamOptions, find_language_model
from hf_speech.inference.decoders import beam_decoder, load_lexicon, make_search
from hf_speech.inference.recognizer import Recognizer, log_softmax
from hf_speech.publishing.web_page import served

REPOSITORY = Path(__file__).resolve().parents[2]
FRAME = 0.04
TOKENS = ["<pad>", "|", "a", "b", "e\u0301", "c"]  # One token of two characters: no word is spelled with it.


def random_logits(rng: np.random.Generator, frames: int, tokens: int) -> np.ndarray:
    """Returns logits with certain blanks in some frames, like those of trained models."""
    logits = rng.normal(size=(frames, tokens)) * 3
    logits[rng.uniform(size=frames) < 0.2, 0] = 20
    return logits.astype(np.float32)


@pytest.mark.filterwarnings("ignore:.*cannot be recognized")
@pytest.mark.parametrize(
    ("unit", "tokens", "settings"),
    [
        ("word", TOKENS, {"lm_weight": 0.7, "word_score": 0.4, "beam_size": 8}),
        ("word", TOKENS, {"lm_weight": 0.0, "word_score": -1.0, "beam_size": 100}),
        ("character", TOKENS, {"lm_weight": 1.1, "word_score": 1.5, "beam_size": 20}),
        ("character", [token for token in TOKENS if token != "|"], {"lm_weight": 0.5, "beam_size": 5}),
    ],
)
def test_beam_search_equals_python_for_random_utterances(
    run: Any, tmp_path: Path, unit: Literal["word", "character"], tokens: list[str], settings: dict[str, Any]
) -> None:
    rng = np.random.default_rng(len(tokens))
    vocabulary = ["a", "ab", "abba", "cab", "b", "bc", "x"]
    path = tmp_path / "language_model.arpa"
    build_arpa([" ".join(rng.choice(vocabulary, size=rng.integers(1, 6))) for _ in range(60)], 3, path, unit)
    BeamOptions(path, **settings).save()
    files = {name: tmp_path / name for name in (path.name, BeamOptions.file(path).name)}
    folder = SimpleNamespace(tokens=tokens, blank=0, word_delimiter="|", find_file=files.get)
    options = pack_language_model(cast(Recognizer, folder), tmp_path)
    assert options is not None
    search = BeamSearchDecoder(tokens, language_model=path, **settings)

    utterances = [random_logits(rng, int(rng.integers(2, 40)), len(tokens)) for _ in range(30)]
    # Over 20 seconds, with pauses: those of a second are cut, others not.
    silence = np.full((60, len(tokens)), -20, dtype=np.float32)
    silence[:, 0] = 20
    parts = [part for utterance in utterances for part in (utterance, silence[: rng.choice([10, 40, 60])])]
    utterances.append(np.concatenate(parts[:-1]))

    description = {"labels": tokens, "blank": 0, "word_delimiter": "|", "samples_per_frame": 320, "sampling_rate": 8000}
    with served(tmp_path) as url:
        arguments = {"description": description, "options": options, "utterances": [u.tolist() for u in utterances]}
        answers = run("search", url=url, **arguments)
    for logits, (half, answer) in zip(utterances[:-1], answers[:-1], strict=True):
        assert [word["text"] for word in half] == decode(search, logits[: len(logits) // 2]).text.split()
        assert_same(answer, decode(search, logits))
    log_probs = log_softmax(utterances[-1])
    pieces = cut_at_pauses(log_probs, seconds_per_frame=FRAME, delimiter=tokens.index("|") if "|" in tokens else None)
    found = [search.decode(log_probs[first:last], seconds_per_frame=FRAME) for first, last in pieces]
    assert len(found) > 10
    assert_same(answers[-1][1], join_pieces(found, [first for first, _ in pieces], seconds_per_frame=FRAME)[0])


LEXICON = """a X
ab X Y
abba X Y Y X
cab Z X Y
b Y
bc Y
kab Z X Y
bb Y
be Y
bea Y
aa X X
"""


@pytest.mark.parametrize(
    "options",
    [
        {"phones": {"lm_weight": 0.8, "word_score": 1.0, "letter_weight": 0.5}, "beam_size": 7},
        {"phones": {"lm_weight": 0.3, "word_score": -0.5, "letter_weight": 2.0}, "beam_size": 100},
        {"phones": {"lm_weight": 0.1, "word_score": 0.0, "letter_weight": 0.0}, "beam_size": 20},
        {"lm_weight": 0.7, "word_score": 0.4, "phone_weight": 1.5, "beam_size": 30},
        {
            "phones": {"lm_weight": 0.8, "word_score": 1.0, "letter_weight": 0.5},
            "beam_size": 20,
            "hot_words": ["KAB", "be"],
            "hot_word_weight": 2.0,
        },
        {"lm_weight": 0.7, "phone_weight": 1.5, "beam_size": 30, "hot_words": ["Abba", "caca"], "hot_word_weight": 3.0},
    ],
    ids=str,
)
def test_phone_search_equals_python_for_random_utterances(run: Any, tmp_path: Path, options: dict[str, Any]) -> None:
    """Compares words and scores of a search by phones, or with rescoring by phones, with Python's.

    Of the five words that sound like Y, one cannot be recognized, and x has no pronunciation.
    """
    rng = np.random.default_rng(options["beam_size"])
    tokens = ["<pad>", "|", "a", "b", "c", "e", "k"]
    words = [line.split()[0] for line in LEXICON.splitlines()]
    vocabulary = words if "phone_weight" in options else [*words, "x"]
    path = tmp_path / "language_model.arpa"
    build_arpa([" ".join(rng.choice(vocabulary, size=rng.integers(1, 6))) for _ in range(60)], 3, path, "word")
    round_logarithms(path)
    hot_words = {name: options[name] for name in options if name.startswith("hot_word")}
    write_json(BeamOptions.file(path), {"lm_weight": 0.0, "word_score": 0.0} | options)
    (tmp_path / "lexicon.txt").write_text(LEXICON)
    recognizer: Any = SimpleNamespace(
        name="random",
        tokens=tokens,
        blank=0,
        word_delimiter="|",
        num_phones=4,
        normalize=str,
        find_file=lambda name: tmp_path / name if (tmp_path / name).is_file() else None,
    )
    packed = pack_language_model(recognizer, tmp_path)
    assert packed is not None
    beam_options = BeamOptions.beside(path, **hot_words)
    search = make_search(recognizer, beam_options, load_lexicon(recognizer))
    decoder = beam_decoder(recognizer, beam_options)

    frames = [int(number) for number in rng.integers(2, 60, size=25)]
    utterances = [{"letters": random_logits(rng, n, len(tokens)), "phones": random_logits(rng, n, 4)} for n in frames]
    description = {"labels": tokens, "blank": 0, "word_delimiter": "|", "samples_per_frame": 320, "sampling_rate": 8000}
    with served(tmp_path) as url:
        arguments = [{name: logits.tolist() for name, logits in utterance.items()} for utterance in utterances]
        hot = {"hotWords": options.get("hot_words", []), "hotWordScore": beam_options.hot_word_weight}
        answers = run("scores", url=url, description=description, options=packed, utterances=arguments, **hot)
    for utterance, answer in zip(utterances, answers, strict=True):
        letters, phones = log_softmax(utterance["letters"]), log_softmax(utterance["phones"])
        assert_same(answer["words"], decoder(np.concatenate([letters, phones], axis=1), FRAME)[0])
        scores = search.candidates(phones if beam_options.phones else letters)
        assert answer["scores"].keys() == scores.keys()
        assert answer["scores"] == pytest.approx(scores, abs=1e-4)


@pytest.mark.filterwarnings("ignore:.*cannot be recognized")
@pytest.mark.parametrize("weight", [0.5, 4.0])
@pytest.mark.parametrize("unit", ["word", "character", None])
def test_hot_words_equal_python(
    run: Any, tmp_path: Path, unit: Literal["word", "character"] | None, weight: float
) -> None:
    """Compares the scores of all texts in the beam, with known and unknown words, and without a language model."""
    rng = np.random.default_rng(7)
    path = tmp_path / "language_model.arpa"
    settings: dict[str, Any] = {"beam_size": 40 if unit else 100, "word_score": 0.6 if unit else 0.0}
    packed = None
    if unit:
        vocabulary = ["a", "ab", "abba", "cab", "b", "bc", "x"]
        build_arpa([" ".join(rng.choice(vocabulary, size=rng.integers(1, 6))) for _ in range(60)], 3, path, unit)
        round_logarithms(path)
        settings |= {"language_model": path, "lm_weight": 0.8}
        BeamOptions(**settings).save()
        files = {name: tmp_path / name for name in (path.name, BeamOptions.file(path).name)}
        folder = SimpleNamespace(tokens=TOKENS, blank=0, word_delimiter="|", find_file=files.get)
        packed = pack_language_model(cast(Recognizer, folder), tmp_path)
    search = BeamSearchDecoder(TOKENS, **settings, hot_words=["cab", "cac", "bab"], hot_word_score=weight)

    utterances = [random_logits(rng, int(rng.integers(2, 40)), len(TOKENS)) for _ in range(20)]
    description = {"labels": TOKENS, "blank": 0, "word_delimiter": "|", "samples_per_frame": 320, "sampling_rate": 8000}
    with served(tmp_path) as url:
        arguments = {"utterances": [{"letters": logits.tolist()} for logits in utterances], "options": packed}
        hot = {"hotWords": ["CAB", "cac", "Bab"], "hotWordScore": weight}
        answers = run("scores", url=url, description=description, **hot, **arguments)
        refused = run("scores", url=url, description=description, hotWords=["abd"], **arguments)
    for logits, answer in zip(utterances, answers, strict=True):
        assert_same(answer["words"], decode(search, logits))
        scores = search.candidates(log_softmax(logits))
        assert answer["scores"].keys() == scores.keys()
        assert answer["scores"] == pytest.approx(scores, abs=1e-4)
    assert refused["error"] == 'The word "abd" has letters that this model does not write: leave it out.'


def round_logarithms(path: Path) -> None:
    """Rounds the logarithms of an ARPA file like the packing, so that scores can be compared exactly."""

    def rounded(match: re.Match[str]) -> str:
        return repr(round(float(match[0]) * STEPS) / STEPS)

    path.write_text(re.sub(r"-\d+\.\d+", rounded, path.read_text(encoding="utf-8")), encoding="utf-8")


def decode(search: BeamSearchDecoder, logits: np.ndarray) -> Hypothesis:
    return search.decode(log_softmax(logits), seconds_per_frame=FRAME)[0]


def assert_same(words: list[dict[str, Any]], expected: Hypothesis) -> None:
    assert [word["text"] for word in words] == [word.text for word in expected.words]
    for word, same in zip(words, expected.words, strict=True):
        assert [word["start"], word["end"]] == pytest.approx([same.start, same.end])
        assert word["confidence"] == pytest.approx(same.confidence, abs=1e-4)


@pytest.mark.parametrize(("model", "folder"), [("an4", "examples"), ("english", "sentences")])
def test_examples(run: Any, tmp_path: Path, model: str, folder: str) -> None:
    """The texts equal Python's, by letters and by phones; with noise, they differ from greedy decoding."""
    loaded = load_model(REPOSITORY / "pretrained" / model, "cpu")
    export_model(loaded, tmp_path, int8=False, packed=True)
    language_model = find_language_model(loaded)
    assert language_model is not None
    assert (tmp_path / FILE).stat().st_size < language_model.stat().st_size / 1.5
    decoder = beam_decoder(loaded, BeamOptions.beside(language_model))
    examples = sorted((REPOSITORY / "spaces" / "transcribe" / folder).iterdir())
    rng = np.random.default_rng(5)
    sounds = [soundfile.read(example, dtype="float32")[0] for example in examples]
    sounds += [sound + rng.normal(0, 0.02, len(sound)).astype(np.float32) for sound in sounds]  # Greedy decoding fails.
    sources = [{"array": sound, "sampling_rate": 16_000} for sound in sounds]
    with served(tmp_path) as url:
        arguments = {"url": url, "precision": "float32", "rate": 16_000, "sounds": [sound.tolist() for sound in sounds]}
        texts = run("texts", **arguments)
        greedy = run("texts", **arguments, languageModel=False)
    assert greedy == [transcript.hypothesis.text for transcript in transcribe_files(loaded, sources, progress=False)]
    expected = transcribe_files(loaded, sources, decoder=decoder, progress=False)
    assert texts == [transcript.hypothesis.text for transcript in expected]
    assert texts != greedy


@pytest.mark.parametrize("open", [0, 1, 3, 5])
def test_scores_texts_with_missing_final_tokens(run: Any, open: int) -> None:
    """The probability with missing final tokens is a sum of Python's probabilities."""
    rng = np.random.default_rng(open)
    log_probs = log_softmax(rng.normal(size=(9, 4)).astype(np.float32) * 2)
    texts = [[1, 2, 2, 3, 1], [3, 1, 1, 1, 2], [2, 2, 2, 2, 2], [1, 3, 1, 3, 1, 2]]
    expected = []
    for ids in texts:
        shorter = [ids[: len(ids) - missing] for missing in range(open + 1)]
        expected.append(np.logaddexp.reduce(phone_scores(log_probs, shorter)))
    frames = np.exp(log_probs, dtype=np.float64).tolist()
    assert run("probabilities", frames=frames, texts=texts, blank=0, open=open) == pytest.approx(expected, abs=1e-6)


def test_rejects_a_damaged_language_model(run: Any, tmp_path: Path) -> None:
    (tmp_path / "file.safetensors").write_bytes(b"damaged")
    with served(tmp_path) as url:
        options = {"file": "file.safetensors", "bytes": 7, "sha256": "0" * 64}
        answer = run("search", url=url, description={}, options=options, utterances=[])
        assert "arrived damaged" in answer["error"]
        answer = run("search", url=url, description={}, options=options | {"sha256": ""}, utterances=[])
        assert "is no language model" in answer["error"]
