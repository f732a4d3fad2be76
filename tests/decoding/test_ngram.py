"""N-gram models from files of other programs, and broken files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from hf_speech.decoding.estimation import build_arpa
from hf_speech.decoding.ngram import NgramModel
from hf_speech.errors import HFSpeechError

TEXT = ["the cat sat on the mat", "the cat sat on the hat"]


def test_perplexity_of_empty_text(tmp_path):
    model = NgramModel.load(build_arpa(TEXT, 2, tmp_path / "model.arpa").path)
    with pytest.raises(HFSpeechError, match="no text"):
        model.perplexity([])


HAND_WRITTEN = """
\\data\\
ngram 1=4
ngram 2=2

\\1-grams:
-1.0 <s> -0.5
-0.5 </s>
-0.3 to -0.2
-0.4 me

\\2-grams:
-0.1 <s> to
-0.2 to me

\\end\\
"""


def test_reads_files_of_other_programs(tmp_path):
    """Spaces instead of tabs, missing weights, no <unk>."""
    path = tmp_path / "other.arpa"
    path.write_text(HAND_WRITTEN)
    model = NgramModel.load(path)
    assert model.score("to me") / math.log(10) == pytest.approx(-0.1 - 0.2 - 0.5)
    assert model.log_prob("me", ["<s>"]) / math.log(10) == pytest.approx(-0.5 - 0.4)
    assert model.log_prob("you", ["to"]) / math.log(10) == pytest.approx(-0.2 - 99)
    assert NgramModel.load(path, max_order=1).order == 2
    assert NgramModel.load(path, max_order=1).log_prob("me", ["to"]) / math.log(10) == pytest.approx(-0.2 - 0.4)


@pytest.mark.parametrize("name", ["model.arpa", "model.ngram"])
def test_words_without_a_context(tmp_path, name):
    model = NgramModel.load(build_arpa(TEXT, 2, tmp_path / name).path)
    words = model.ids(["hat", "the", "<s>", "</s>", "dog"])
    assert model.unigrams(words).tolist() == model.advance(np.zeros(len(words), dtype=np.int64), words)[1].tolist()


INCOMPLETE = r"declares \{1: 4, 2: 2\} n-grams, and it has \{1: 4, 2: 1\}"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is not an ARPA file: build"),
        ("a text\nof two lines", "is not an ARPA file: build"),
        (HAND_WRITTEN[: HAND_WRITTEN.index("-0.2 to me")], INCOMPLETE),
        (HAND_WRITTEN.replace("-0.2 to me\n", ""), INCOMPLETE),
        (HAND_WRITTEN.replace("\\end\\", ""), "not a complete ARPA file"),
        (HAND_WRITTEN.replace("-0.2 to me", "-0.2 me"), "line 14 is '-0.2 me'"),
        (HAND_WRITTEN.replace("-0.1 <s> to", "much <s> to"), "line 13 is 'much <s> to'"),
        (HAND_WRITTEN.replace("-0.1 <s> to", "99 <s> to"), "line 13 is '99 <s> to'"),
        (HAND_WRITTEN.replace("-0.1 <s> to", "nan <s> to"), "line 13 is 'nan <s> to'"),
        (HAND_WRITTEN.replace("-0.2 to me", "-0.2 to you"), "line 14 is '-0.2 to you'"),
        (HAND_WRITTEN.replace("-0.2 to me", "-0.1 <s> to"), "has a 2-gram twice"),
        (HAND_WRITTEN.replace("2-grams:", "3-grams:"), "line 12 is"),
    ],
)
def test_rejects_broken_files(tmp_path, content, reason):
    path = tmp_path / "broken.arpa"
    path.write_text(content)
    with pytest.raises(HFSpeechError, match=reason):
        NgramModel.load(path)


def test_rejects_unreadable_files(tmp_path):
    with pytest.raises(HFSpeechError, match="No such file"):
        NgramModel.load(tmp_path / "missing.arpa")
    Path(tmp_path, "binary.bin").write_bytes(b"mmap lm \xff\xfe")
    with pytest.raises(HFSpeechError, match="not a UTF-8 ARPA file"):
        NgramModel.load(tmp_path / "binary.bin")


def test_an_ngram_file_contains_the_same_model(tmp_path):
    text = [*TEXT, "the mat sat", "größer als der hut"]
    of_arpa = NgramModel.load(build_arpa(text, 4, tmp_path / "model.arpa").path)
    binary = NgramModel.load(build_arpa(text, 4, tmp_path / "model.ngram").path)
    assert (binary.order, binary.vocabulary) == (4, of_arpa.vocabulary)
    for sentence in (*text, "der cat sat on", "nothing of it", ""):
        assert binary.score(sentence) == of_arpa.score(sentence)
    of_arpa.save(tmp_path / "saved.ngram")
    assert (tmp_path / "saved.ngram").read_bytes() == (tmp_path / "model.ngram").read_bytes()
    assert NgramModel.load(build_arpa(TEXT, 2, tmp_path / "c.ngram", unit="character").path).is_of_characters


def test_advances_histories_in_batches(tmp_path):
    """Batched results equal single ones, also with back-off."""
    model = NgramModel.load(build_arpa(TEXT, 3, tmp_path / "model.arpa").path)
    contexts = [["<s>"], ["<s>", "the"], ["the", "cat"], ["hat", "hat"], ["what"], []]
    histories = np.zeros(len(contexts), dtype=np.int64)
    for row, context in enumerate(contexts):
        for word in model.ids(context):
            histories[row : row + 1], _ = model.advance(histories[row : row + 1], np.array([word]))
    for word in ("cat", "sat", "</s>", "what"):
        _, together = model.advance(histories, np.repeat(model.ids([word]), len(contexts)))
        assert together == pytest.approx([model.log_prob(word, context) for context in contexts])


def test_reports_a_damaged_ngram_file(tmp_path):
    path = build_arpa(TEXT, 3, tmp_path / "model.ngram").path
    whole = path.read_bytes()
    for content in (b"", whole[:200], whole[:-9], b"x" * 300):
        path.write_bytes(content)
        with pytest.raises(HFSpeechError, match=r"model\.ngram is damaged or has another format"):
            NgramModel.load(path)
    with pytest.raises(HFSpeechError, match="No such file"):
        NgramModel.load(tmp_path / "missing.ngram")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("keys", lambda keys: keys[::-1].copy()),
        ("keys", lambda keys: keys + 10**6),
        ("words", lambda words: np.append(words, np.frombuffer(b"\nmore", dtype=np.uint8))),
        ("suffixes", lambda suffixes: suffixes + 1000),
        ("suffixes", lambda suffixes: suffixes - 1),
        ("backoffs", lambda backoffs: backoffs[:-1]),
    ],
)
def test_rejects_arrays_with_invalid_indices(tmp_path, name, change):
    """Untrusted files must not cause endless loops or access outside an array."""
    path = build_arpa(TEXT, 3, tmp_path / "model.ngram").path
    with safe_open(path, framework="np") as file:
        arrays, about = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    save_file(arrays | {name: change(arrays[name])}, path, metadata=about)
    with pytest.raises(HFSpeechError, match="damaged or has another format"):
        NgramModel.load(path)


def test_rejects_circular_suffixes_of_untrusted_files(tmp_path):
    """A suffix that is not shorter would cause an endless loop."""
    path = build_arpa(TEXT, 3, tmp_path / "model.ngram").path
    with safe_open(path, framework="np") as file:
        arrays, about = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    arrays["suffixes"] = np.arange(len(arrays["suffixes"]), dtype=np.int32)
    save_file(arrays, path, metadata=about)
    with pytest.raises(HFSpeechError, match="damaged or has another format"):
        NgramModel.load(path)
