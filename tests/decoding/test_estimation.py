"""Estimation of n-gram models, compared with hand-computed values and KenLM's lmplz; pruning and held-out text."""

from __future__ import annotations

import math
import random
import re
from pathlib import Path

import numpy as np
import pytest

from hf_speech.decoding import estimation
from hf_speech.decoding.estimation import FALLBACK_DISCOUNTS, build_arpa
from hf_speech.decoding.ngram import NgramModel, characters
from hf_speech.errors import HFSpeechError

# The output of KenLM's lmplz (--discount_fallback) and query for this text and these orders.
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


def test_equals_a_model_computed_by_hand(tmp_path):
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

    model = NgramModel.load(summary.path)
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
def test_equals_the_model_of_lmplz(tmp_path, unit, order, ngrams, perplexity):
    prepare = characters if unit == "characters" else str
    summary = build_arpa(map(prepare, TEXT), order, tmp_path / "model.arpa")
    assert summary.ngrams == ngrams
    assert NgramModel.load(summary.path).perplexity(map(prepare, OTHER)) == pytest.approx(perplexity, rel=1e-5)


@pytest.mark.corpora
def test_equals_the_model_of_lmplz_for_real_transcripts(tmp_path, corpora_dir):
    def read(split: str) -> list[str]:
        lines = (corpora_dir / "an4" / "etc" / f"an4_{split}.transcription").read_text().splitlines()
        return [re.sub(r"\(.*\)|</?s>", "", line) for line in lines]

    summary = build_arpa(read("train"), 4, tmp_path / "an4.arpa")
    assert summary.ngrams == (102, 1256, 3121, 3434)
    assert summary.fallback_orders == ()
    assert NgramModel.load(summary.path).perplexity(read("test")) == pytest.approx(15.7972, abs=1e-4)


@pytest.mark.parametrize("order", range(1, 7))
def test_probabilities_sum_to_one_in_any_context(tmp_path, order):
    model = NgramModel.load(build_arpa(TEXT, order, tmp_path / "model.arpa").path)
    rng = random.Random(order)
    contexts = [sentence.split()[:length] for sentence in TEXT for length in (0, 2, 5)]
    contexts = [["<s>", *context] for context in contexts]
    contexts += [rng.choices([*model.vocabulary, "never"], k=length) for length in (0, 1, 2, 3, 8)]
    for context in contexts:
        total = sum(math.exp(model.log_prob(word, context)) for word in (*model.vocabulary, "</s>", "<unk>"))
        assert total == pytest.approx(1, abs=1e-5), context


def test_sentences_shorter_than_the_order_lower_it(tmp_path):
    """Some readers do not accept a section without n-grams."""
    summary = build_arpa(["a b", "b"], 6, tmp_path / "model.arpa")
    assert summary.order == 4
    assert len(summary.ngrams) == 4
    assert NgramModel.load(summary.path).order == 4


def test_estimates_a_character_model():
    assert characters(" TO  ME ") == "T O | M E"
    assert characters("TO ME", word_delimiter="_") == "T O _ M E"


@pytest.mark.parametrize("order", [0, 7])
def test_rejects_impossible_orders(tmp_path, order):
    with pytest.raises(HFSpeechError, match=f"order {order} .* from 1 to 6"):
        build_arpa(TEXT, order, tmp_path / "model.arpa")


def test_rejects_text_without_words_and_reserved_words(tmp_path):
    with pytest.raises(HFSpeechError, match="has no words"):
        build_arpa(["", "  "], 3, tmp_path / "model.arpa")
    with pytest.raises(HFSpeechError, match=r"word '</s>' in '<s> the cat </s>'"):
        build_arpa([*TEXT, "<s> the cat </s>"], 3, tmp_path / "model.arpa")
    assert not (tmp_path / "model.arpa").exists()


WORDS = "the a cat dog sat ran on by mat hat door and".split()  # noqa: SIM905 - readable
BOOK = [" ".join(random.Random(seed).choices(WORDS, k=9)) for seed in range(400)]


def contexts_of(model: NgramModel, count: int = 60) -> list[list[str]]:
    rng = random.Random(0)
    return [["<s>"], *(rng.choices([*model.vocabulary, "never"], k=rng.randint(0, 3)) for _ in range(count))]


@pytest.mark.parametrize(
    "options",
    [
        {"min_counts": (1, 1, 2)},
        {"min_counts": (1, 3, 3)},
        {"entropy_threshold": 1e-3},
        {"max_words": 8},
        {"max_words": 8, "min_counts": (1, 2, 2), "entropy_threshold": 1e-4},
    ],
    ids=str,
)
def test_pruned_models_are_still_distributions(tmp_path, options):
    full = build_arpa(BOOK, 3, tmp_path / "full.arpa")
    summary = build_arpa(BOOK, 3, tmp_path / "small.arpa", **options)
    assert sum(summary.ngrams) < sum(full.ngrams)
    model = NgramModel.load(summary.path)
    for context in contexts_of(model):
        total = sum(math.exp(model.log_prob(word, context)) for word in (*model.vocabulary, "</s>", "<unk>"))
        assert total == pytest.approx(1, abs=1e-5), context


def read_ngrams(path: Path) -> set[tuple[str, ...]]:
    """Returns the n-grams in an ARPA file."""
    lines = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return {tuple(fields[1].split()) for fields in lines if len(fields) > 1}


def test_leaves_out_counts_below_the_minimum(tmp_path):
    """The highest order uses plain counts; n-grams that are parts of longer ones are kept."""
    text = ["a b c", "a b c", "a b d", "x b c"]
    small = read_ngrams(build_arpa(text, 3, tmp_path / "small.arpa", min_counts=(1, 1, 2)).path)
    assert {ngram for ngram in small if len(ngram) == 3} == {
        ("<s>", "a", "b"),
        ("a", "b", "c"),
        ("b", "c", "</s>"),
    }
    assert {ngram for ngram in small if len(ngram) == 1} >= {("x",), ("d",)}
    pairs = {ngram for ngram in small if len(ngram) == 2}
    only_needed = build_arpa(text, 3, tmp_path / "less.arpa", min_counts=(1, 9, 2)).path
    kept = {ngram for ngram in read_ngrams(only_needed) if len(ngram) == 2}
    assert kept == {("<s>", "a"), ("a", "b"), ("b", "c"), ("c", "</s>")} < pairs


def test_entropy_pruning_respects_its_threshold(tmp_path):
    """Each n-gram is judged alone by the perplexity under the model; the total increase is about the sum."""
    full = NgramModel.load(build_arpa(BOOK, 3, tmp_path / "full.arpa").path)
    sizes, perplexities = [], []
    for threshold in (0.0, 1e-4, 1e-3, 1e-2):
        summary = build_arpa(BOOK, 3, tmp_path / "small.arpa", entropy_threshold=threshold)
        sizes.append(sum(summary.ngrams))
        perplexities.append(NgramModel.load(summary.path).perplexity(BOOK))
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4
    assert perplexities[0] == pytest.approx(full.perplexity(BOOK))
    assert perplexities[1] < 1.2 * perplexities[0]


def test_removing_an_n_gram_raises_the_entropy_as_computed(tmp_path):
    """Compares Stolcke's formula with the explicit sum over all words."""
    names, words, _ = estimation._read(["a b a c", "a b b", "c a b"])
    begin, end = names.index("<s>"), names.index("</s>")
    orders = estimation._count(words, 2, len(names), begin, end)
    estimation._smooth(orders, begin)
    unigrams, bigrams = orders
    histories = unigrams.probability.copy()
    histories[begin] = histories[end]
    losses = estimation._loss(bigrams, unigrams.probability, histories)
    for index in range(len(bigrams.word)):
        context = bigrams.context[index]
        before = unigrams.backoff[context] * unigrams.probability
        in_context = bigrams.context == context
        before[bigrams.word[in_context]] = bigrams.probability[in_context]
        without = in_context & (np.arange(len(in_context)) != index)
        left = 1 - bigrams.probability[without].sum()
        after = unigrams.probability * left / (1 - unigrams.probability[bigrams.word[without]].sum())
        after[bigrams.word[without]] = bigrams.probability[without]
        predicted = before > 0
        divergence = (before[predicted] * np.log(before[predicted] / after[predicted])).sum()
        assert losses[index] == pytest.approx(histories[context] * divergence, abs=1e-9)


def test_limits_the_vocabulary_to_the_most_frequent_words(tmp_path):
    text = ["a a a b b c", "a b d", "a e"]
    summary = build_arpa(text, 2, tmp_path / "small.arpa", max_words=2)
    model = NgramModel.load(summary.path)
    assert model.vocabulary == {"a", "b"}
    assert summary.words == 11
    # The other words are what <unk> stands for, though no longer n-gram has it.
    assert model.log_prob("c") == model.log_prob("<unk>") > model.log_prob("</s>") - 2
    assert not [ngram for ngram in read_ngrams(summary.path) if len(ngram) > 1 and "<unk>" in ngram]
    assert NgramModel.load(build_arpa(text, 2, tmp_path / "all.arpa", max_words=5).path).vocabulary == set("abcde")


@pytest.mark.parametrize(
    "options", [{"max_words": 0}, {"min_counts": (1, 0)}, {"entropy_threshold": -1e-9}, {"entropy_threshold": math.nan}]
)
def test_rejects_limits_out_of_range(tmp_path, options):
    with pytest.raises(HFSpeechError, match="must be at least 1, and entropy_threshold from 0"):
        build_arpa(BOOK, 2, tmp_path / "model.arpa", **options)


def test_leaves_out_text_of_the_test_split(tmp_path):
    held_out = ["one two three", "it is seven words long and no more", "nothing of this is in it at all my friend"]
    near = ["and so it is seven words long and no less", "seven words long and no more"]
    far = [f"other words {'x' * (number % 7)}" for number in range(1000)]
    whole = build_arpa([*near, *far], 2, tmp_path / "model.arpa", held_out=held_out)
    assert (whole.left_out, whole.sentences) == (0, 1002)
    # The sentence that the test split has, and a thousand on either side of it; its words are nowhere else.
    shared = "he said it is seven words long and no more of it"
    part = build_arpa([*BOOK, *far, shared, *far, *near], 2, tmp_path / "part.arpa", held_out=held_out)
    assert part.left_out == 2001
    assert part.sentences == len(BOOK) + len(near)
    assert "said" not in NgramModel.load(part.path).vocabulary
    assert NgramModel.load(part.path).vocabulary >= set(" ".join([*BOOK, *near]).split())
    with pytest.raises(HFSpeechError, match="All text is from the books of the held-out transcripts"):
        build_arpa([*far, shared, *near], 2, tmp_path / "none.arpa", held_out=held_out)
    assert not (tmp_path / "none.arpa").exists()
