"""N-gram models: by hand, against lmplz of KenLM, and as probabilities."""

from __future__ import annotations

import math
import random
import re
from pathlib import Path

import pytest

from hf_speech.decoding.ngram import FALLBACK_DISCOUNTS, ArpaModel, build_arpa, characters
from hf_speech.errors import HFSpeechError

# What lmplz of KenLM (--discount_fallback) and its query program give for this text and orders.
TEXT = [
    "the cat sat on the mat",
    "the cat sat on the hat",
    "a cat sat by the door",
    "the dog sat on the mat",
    "the dog ran to the door",
    "a dog and a cat ran by the mat",
    "on the mat the cat slept",
    "the rat saw the cat and ran",
]
OTHER = ["the cat ran to the hat", "a bird sat on the mat", "door"]


def test_two_words_computed_by_hand(tmp_path):
    r"""Text "a b", "a b", "a".

    Bigrams: <s> a 3 times, a b and b </s> twice, a </s> once: n1 = 1, n2 = 2, n3 = 1, n4 = 0, Y = 1 / (1 + 2*2) = 0.2,
    D1 = 1 - 2 Y n2/n1 = 0.2, D2 = 2 - 3 Y n3/n2 = 1.7, D3 = 3 - 4 Y n4/n3 = 3.
    Unigrams by left neighbors: a 1, b 1, </s> 2, in all 4; without n3 the discounts are 0.5, 1, 1.5. Discounting
    leaves (0.5 + 0.5 + 1) / 4 = 0.5, spread over a, b, </s>, <unk>.
    """
    summary = build_arpa(["a b", "a b", "", "  a\n"], 2, tmp_path / "model.arpa")
    assert (summary.order, summary.sentences, summary.words, summary.ngrams) == (2, 3, 5, (5, 4))
    assert summary.discounts[0] == FALLBACK_DISCOUNTS
    assert summary.discounts[1] == pytest.approx((0.2, 1.7, 3.0))
    assert summary.fallback_orders == (1,)

    model = ArpaModel.load(summary.path)
    assert (model.order, model.vocabulary) == (2, {"a", "b"})
    unigram = {"a": 0.5 / 4 + 0.125, "b": 0.5 / 4 + 0.125, "</s>": 1 / 4 + 0.125, "<unk>": 0.125}
    for word, probability in unigram.items():
        assert math.exp(model.log_prob(word)) == pytest.approx(probability, rel=1e-6)
    left_by_a = (1.7 + 0.2) / 3
    expected = {
        ("<s>", "a"): 0 + 1.0 * 0.25,
        ("a", "b"): 0.3 / 3 + left_by_a * 0.25,
        ("a", "</s>"): 0.8 / 3 + left_by_a * 0.375,
        ("a", "a"): left_by_a * 0.25,
        ("a", "never"): left_by_a * 0.125,
        ("b", "</s>"): 0.3 / 2 + 1.7 / 2 * 0.375,
    }
    for (context, word), probability in expected.items():
        assert math.exp(model.log_prob(word, [context])) == pytest.approx(probability, rel=1e-6), (context, word)
    sentence = math.log(expected["<s>", "a"] * expected["a", "b"] * expected["b", "</s>"])
    assert model.score("a b") == pytest.approx(sentence, rel=1e-6)
    # Three predictions: a, b and the end.
    assert model.perplexity(["a b"]) == pytest.approx(math.exp(-sentence / 3), rel=1e-6)


# N-grams of each order, and the perplexity of OTHER.
LMPLZ = [
    ("words", 2, (19, 35), 5.47301),
    ("words", 3, (19, 35, 41), 7.71591),
    ("words", 4, (19, 35, 41, 39), 7.10615),
    ("words", 6, (19, 35, 41, 39, 33, 27), 6.98604),
    ("characters", 2, (21, 47), 5.19643),
    ("characters", 3, (21, 47, 67), 3.41798),
    ("characters", 4, (21, 47, 67, 84), 2.98483),
    ("characters", 6, (21, 47, 67, 84, 95, 106), 2.58061),
]


@pytest.mark.parametrize(("unit", "order", "ngrams", "perplexity"), LMPLZ)
def test_same_model_as_lmplz(tmp_path, unit, order, ngrams, perplexity):
    prepare = characters if unit == "characters" else str
    summary = build_arpa(map(prepare, TEXT), order, tmp_path / "model.arpa")
    assert summary.ngrams == ngrams
    assert ArpaModel.load(summary.path).perplexity(map(prepare, OTHER)) == pytest.approx(perplexity, rel=1e-5)


@pytest.mark.corpora
def test_same_model_as_lmplz_of_real_transcripts(tmp_path, corpora_dir):
    def read(split: str) -> list[str]:
        lines = (corpora_dir / "an4" / "etc" / f"an4_{split}.transcription").read_text().splitlines()
        return [re.sub(r"\(.*\)|</?s>", "", line) for line in lines]

    summary = build_arpa(read("train"), 4, tmp_path / "an4.arpa")
    assert summary.ngrams == (102, 1256, 3121, 3434)
    assert summary.fallback_orders == ()
    assert ArpaModel.load(summary.path).perplexity(read("test")) == pytest.approx(15.7972, abs=1e-4)


@pytest.mark.parametrize("order", range(1, 7))
def test_probabilities_sum_to_one_in_any_context(tmp_path, order):
    model = ArpaModel.load(build_arpa(TEXT, order, tmp_path / "model.arpa").path)
    rng = random.Random(order)
    contexts = [sentence.split()[:length] for sentence in TEXT for length in (0, 2, 5)]
    contexts = [["<s>", *context] for context in contexts]
    contexts += [rng.choices([*model.vocabulary, "never"], k=length) for length in (0, 1, 2, 3, 8)]
    for context in contexts:
        total = sum(math.exp(model.log_prob(word, context)) for word in (*model.vocabulary, "</s>", "<unk>"))
        assert total == pytest.approx(1, abs=1e-5), context


def test_sentences_shorter_than_the_order_lower_it(tmp_path):
    """A section without n-grams says nothing, and not every reader accepts it."""
    summary = build_arpa(["a b", "b"], 6, tmp_path / "model.arpa")
    assert summary.order == 4
    assert len(summary.ngrams) == 4
    assert ArpaModel.load(summary.path).order == 4


def test_characters():
    assert characters(" TO  ME ") == "T O | M E"
    assert characters("TO ME", word_delimiter="_") == "T O _ M E"


@pytest.mark.parametrize("order", [0, 7])
def test_impossible_orders(tmp_path, order):
    with pytest.raises(HFSpeechError, match=f"order {order} .* from 1 to 6"):
        build_arpa(TEXT, order, tmp_path / "model.arpa")


def test_text_without_words_and_with_reserved_ones(tmp_path):
    with pytest.raises(HFSpeechError, match="has no words"):
        build_arpa(["", "  "], 3, tmp_path / "model.arpa")
    with pytest.raises(HFSpeechError, match=r"word '</s>' in '<s> the cat </s>'"):
        build_arpa([*TEXT, "<s> the cat </s>"], 3, tmp_path / "model.arpa")
    assert not (tmp_path / "model.arpa").exists()


def test_perplexity_of_nothing(tmp_path):
    model = ArpaModel.load(build_arpa(TEXT, 2, tmp_path / "model.arpa").path)
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


def test_files_of_other_programs(tmp_path):
    """Blanks in place of tabs, weights left out, no <unk>."""
    path = tmp_path / "other.arpa"
    path.write_text(HAND_WRITTEN)
    model = ArpaModel.load(path)
    assert model.score("to me") / math.log(10) == pytest.approx(-0.1 - 0.2 - 0.5)
    assert model.log_prob("me", ["<s>"]) / math.log(10) == pytest.approx(-0.5 - 0.4)
    assert model.log_prob("you", ["to"]) / math.log(10) == pytest.approx(-0.2 - 99)
    assert ArpaModel.load(path, max_order=1).order == 2
    assert ArpaModel.load(path, max_order=1).log_prob("me", ["to"]) / math.log(10) == pytest.approx(-0.2 - 0.4)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "promises no n-grams"),
        ("a text\nof two lines", "promises no n-grams"),
        (HAND_WRITTEN[: HAND_WRITTEN.index("-0.2 to me")], r"promises \{1: 4, 2: 2\} n-grams and holds \{1: 4, 2: 1\}"),
        (HAND_WRITTEN.replace("-0.2 to me\n", ""), r"promises \{1: 4, 2: 2\} n-grams and holds \{1: 4, 2: 1\}"),
        (HAND_WRITTEN.replace("\\end\\", ""), "not a whole ARPA file"),
        (HAND_WRITTEN.replace("-0.2 to me", "-0.2 me"), "line 14 is '-0.2 me'"),
        (HAND_WRITTEN.replace("-0.1 <s> to", "much <s> to"), "line 13 is 'much <s> to'"),
    ],
)
def test_broken_files(tmp_path, content, reason):
    path = tmp_path / "broken.arpa"
    path.write_text(content)
    with pytest.raises(HFSpeechError, match=reason):
        ArpaModel.load(path)


def test_unreadable_files(tmp_path):
    with pytest.raises(HFSpeechError, match="No such file"):
        ArpaModel.load(tmp_path / "missing.arpa")
    Path(tmp_path, "binary.bin").write_bytes(b"mmap lm \xff\xfe")
    with pytest.raises(HFSpeechError, match="not an ARPA file in UTF-8"):
        ArpaModel.load(tmp_path / "binary.bin")
