"""The beam search compared with all paths, with and without a lexicon, a language model and hot words."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from transformers import Wav2Vec2CTCTokenizer

from hf_speech.decoding.beam import BeamSearchDecoder
from hf_speech.decoding.estimation import build_arpa
from hf_speech.decoding.greedy import greedy_decode
from hf_speech.decoding.ngram import NgramModel, characters
from hf_speech.errors import HFSpeechError

TEXT = ["ab a", "ab bb", "a ab a", "bb", "a a", "ab a bb", "ab"]
# Wide enough to keep everything for these tiny utterances.
ALL = {"beam_size": 5000, "beam_threshold": 1e6}


@pytest.fixture
def word_model(tmp_path: Path) -> Path:
    return build_arpa(TEXT, 3, tmp_path / "words.arpa").path


@pytest.fixture
def character_model(tmp_path: Path) -> Path:
    return build_arpa(map(characters, TEXT), 4, tmp_path / "characters.arpa").path


def decode(decoder: BeamSearchDecoder, log_probs: np.ndarray, num_best: int = 10_000) -> dict[str, float]:
    """Returns all texts with their scores, the best first."""
    return {found.text: found.score for found in decoder.decode(log_probs, seconds_per_frame=0.04, num_best=num_best)}


def assert_same(found: dict[str, float], expected: dict[Sequence[str], float]) -> None:
    """Checks that two results have the same texts with the same scores, in order."""
    by_text = {" ".join(words): score for words, score in expected.items()}
    assert found == pytest.approx(by_text, abs=2e-3)
    assert list(found.values()) == sorted(found.values(), reverse=True)


@pytest.mark.parametrize("seed", range(3))
def test_score_without_lexicon_sums_over_all_paths(brute_force, seed):
    log_probs = brute_force.draw_log_probs(5, seed=seed)
    expected = brute_force.add_up(log_probs, lambda path: brute_force.to_words(brute_force.collapse(path)))
    assert_same(decode(BeamSearchDecoder(brute_force.tokens, **ALL), log_probs), expected)


@pytest.mark.parametrize("lexicon", [None, ["a", "ab", "bb"]])
def test_rescores_before_selecting_the_best(brute_force, lexicon) -> None:
    log_probs = brute_force.draw_log_probs(5, seed=1)
    decoder = BeamSearchDecoder(brute_force.tokens, lexicon=lexicon, **ALL)
    alone = decode(decoder, log_probs)
    assert decoder.candidates(log_probs) == pytest.approx(alone)
    last = list(alone)[-1]

    def rescore(texts: Sequence[str]) -> list[float]:
        return [100.0 if text == last else -1.0 for text in texts]

    (best,) = decoder.decode(log_probs, seconds_per_frame=0.04, rescorer=rescore)
    assert (best.text, best.score) == (last, pytest.approx(alone[last] + 100))
    assert [word.text for word in best.words] == last.split()


@pytest.mark.parametrize("seed", range(3))
def test_finds_only_words_of_the_lexicon(brute_force, seed):
    """The words include one with a double letter, and one that is a prefix of another."""
    log_probs = brute_force.draw_log_probs(6, seed=seed)
    expected = brute_force.add_up(log_probs, lambda path: brute_force.to_words(brute_force.collapse(path)))
    expected = {words: score for words, score in expected.items() if {"a", "ab", "bb"}.issuperset(words)}
    assert_same(decode(BeamSearchDecoder(brute_force.tokens, lexicon=["a", "ab", "bb"], **ALL), log_probs), expected)


@pytest.mark.parametrize("seed", range(3))
def test_word_language_model(brute_force, word_model, seed):
    log_probs = brute_force.draw_log_probs(6, seed=seed)
    model = NgramModel.load(word_model)
    expected = {
        words: score + 0.7 * model.score(" ".join(words)) + 0.3 * len(words)
        for words, score in brute_force.add_up(
            log_probs, lambda path: brute_force.to_words(brute_force.collapse(path))
        ).items()
        if model.vocabulary.issuperset(words)
    }
    decoder = BeamSearchDecoder(brute_force.tokens, language_model=word_model, lm_weight=0.7, word_score=0.3, **ALL)
    assert decoder.lexicon == ("a", "ab", "bb")
    assert_same(decode(decoder, log_probs), expected)


@pytest.mark.parametrize("seed", range(3))
def test_character_language_model(brute_force, character_model, seed):
    log_probs = brute_force.draw_log_probs(5, seed=seed)
    model = NgramModel.load(character_model)
    expected = {
        words: score + 0.7 * model.score(characters(" ".join(words))) - 0.4 * len(words)
        for words, score in brute_force.add_up(
            log_probs, lambda path: brute_force.to_words(brute_force.collapse(path))
        ).items()
    }
    decoder = BeamSearchDecoder(
        brute_force.tokens, language_model=character_model, lm_weight=0.7, word_score=-0.4, **ALL
    )
    assert decoder.lexicon is None
    assert_same(decode(decoder, log_probs), expected)


DIGITS = ("<pad>", "|", "<unk>", *"0123456789")


def spell_out(text: str, tokens: Sequence[str]) -> np.ndarray:
    """Returns log probabilities that are certain of a text, with a blank between equal characters."""
    ids = [0]
    for character in text.replace(" ", "|"):
        ids += [tokens.index(character), 0]
    log_probs = np.full((len(ids), len(tokens)), np.log(0.01 / len(tokens)), dtype=np.float32)
    log_probs[np.arange(len(ids)), ids] = np.log(0.99 + 0.01 / len(tokens))
    return log_probs


@pytest.mark.parametrize("text", [["1 2 3", "3 1", "2 2"], ["7"], ["0 1 2 3 4 5 6 7 8 9"]])
def test_words_of_one_character(tmp_path, text):
    """With digits and spelled letters, every word of the language model is a token, but it is still a word model."""
    path = build_arpa(text, 2, tmp_path / "digits.arpa").path
    decoder = BeamSearchDecoder(DIGITS, language_model=path)
    assert decoder.lexicon == tuple(sorted({word for sentence in text for word in sentence.split()}))
    log_probs = spell_out(text[0], DIGITS)
    assert decoder.decode(log_probs, seconds_per_frame=0.04)[0].text == text[0]
    # A sequence of characters is not a word.
    joined = spell_out(text[0].replace(" ", ""), DIGITS)
    assert all(len(word) == 1 for word in decoder.decode(joined, seconds_per_frame=0.04)[0].text.split())


def test_a_file_can_declare_a_character_model(tmp_path):
    """Needed for languages without spaces, where no delimiter reveals the kind of model."""
    text = ["今天天气", "天气好", "今天好"]
    tokens = ("<pad>", "|", *sorted(set("".join(text))))
    path = build_arpa(text, 3, tmp_path / "characters.arpa", unit="character").path
    assert path.read_text(encoding="utf-8").startswith("# units: characters")
    assert NgramModel.load(path).is_of_characters
    assert NgramModel.load(path).perplexity(map(characters, text)) < 5
    decoder = BeamSearchDecoder(tokens, language_model=path)
    assert decoder.lexicon is None
    for sentence in text:
        assert decoder.decode(spell_out(sentence, tokens), seconds_per_frame=0.04)[0].text == sentence
    # Characters of single words, for a model that has no delimiter either.
    path = build_arpa(["a b", "b"], 2, tmp_path / "single.arpa").path
    assert BeamSearchDecoder(("<pad>", "a", "b", "c"), language_model=path).lexicon is None
    assert BeamSearchDecoder(("<pad>", "|", "a", "b", "c"), language_model=path).lexicon == ("a", "b")
    # Characters that the acoustic model lacks do not make it one of words.
    path = build_arpa(map(characters, ["ab x", "b"]), 2, tmp_path / "more.arpa").path
    assert BeamSearchDecoder(("<pad>", "|", "a", "b"), language_model=path).lexicon is None


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("of_tokens", ["NFC", "NFD"])
def test_spells_words_in_the_unicode_form_of_the_tokens(tmp_path, form, of_tokens):
    words = ["né", "ça", "na"]
    tokens = ("<pad>", "|", *sorted({letter for word in words for letter in unicodedata.normalize(of_tokens, word)}))
    text = [unicodedata.normalize(form, f"{first} {second}") for first in words for second in words]
    path = build_arpa(text, 2, tmp_path / "lm.arpa").path
    spoken = unicodedata.normalize(of_tokens, "né ça")
    log_probs = spell_out(spoken, tokens)
    hot = unicodedata.normalize("NFC" if form == "NFD" else "NFD", "ça")
    cold = BeamSearchDecoder(tokens, language_model=path).decode(log_probs, seconds_per_frame=0.04)[0]
    warm = BeamSearchDecoder(tokens, language_model=path, hot_words=[hot], hot_word_score=2.0)
    assert warm.lexicon == tuple(sorted(unicodedata.normalize(form, word) for word in words))
    found = warm.decode(log_probs, seconds_per_frame=0.04)[0]
    assert cold.text == found.text == spoken
    assert found.score == pytest.approx(cold.score + 2.0, abs=1e-2)
    free = BeamSearchDecoder(tokens, hot_words=[hot], hot_word_score=2.0).decode(log_probs, seconds_per_frame=0.04)[0]
    assert free.text == spoken


@pytest.mark.parametrize("weights", [(0.0, 0.0), (0.4, -1.0), (1.5, 2.0)])
def test_changed_weights_equal_a_new_decoder(brute_force, word_model, weights):
    log_probs = brute_force.draw_log_probs(6, seed=4)
    made = {"language_model": word_model, "hot_words": ["bb"], **ALL}
    first = BeamSearchDecoder(brute_force.tokens, lm_weight=0.7, word_score=0.3, **made)
    alone = decode(first, log_probs)
    other = first.with_weights(*weights)
    expected = BeamSearchDecoder(brute_force.tokens, lm_weight=weights[0], word_score=weights[1], **made)
    assert decode(other, log_probs) == decode(expected, log_probs) != alone
    assert decode(first, log_probs) == alone
    with pytest.raises(HFSpeechError, match=r"lm_weight is -1\.0"):
        first.with_weights(-1.0, 0.0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"beam_size": 0}, "beam_size is 0: give a whole number from 1"),
        ({"beam_size": -5}, "beam_size is -5"),
        ({"beam_size": 2.5}, "beam_size is 2.5"),
        ({"beam_size": 10**9}, "beam_size is 1000000000"),
        ({"beam_size": True}, "beam_size is True: give a finite number"),
        ({"beam_threshold": 0.0}, "beam_threshold is 0.0: give a number above 0"),
        ({"beam_threshold": math.nan}, "beam_threshold is nan: give a finite number"),
        ({"lm_weight": math.nan}, "lm_weight is nan"),
        ({"lm_weight": -0.1}, "lm_weight is -0.1: give a number that is not negative"),
        ({"lm_weight": "0.5"}, "lm_weight is '0.5': give a finite number"),
        ({"word_score": math.inf}, "word_score is inf"),
        ({"hot_word_score": -math.inf}, "hot_word_score is -inf"),
    ],
)
def test_rejects_settings_that_find_nothing(brute_force, setting, message):
    with pytest.raises(HFSpeechError, match=re.escape(message)):
        BeamSearchDecoder(brute_force.tokens, **setting)


def test_rejects_a_lexicon_in_another_encoding(tmp_path, brute_force):
    path = tmp_path / "words.txt"
    path.write_text("ab\nbb\n", encoding="utf-16")
    assert BeamSearchDecoder(brute_force.tokens, lexicon=path).lexicon == ("ab", "bb")
    path.write_bytes("ab\né\n".encode("cp1252"))
    with pytest.raises(HFSpeechError, match="is not text in UTF-8"):
        BeamSearchDecoder(brute_force.tokens, lexicon=path)


def test_hot_words_of_a_lexicon_are_scored_in_the_beam(brute_force, word_model):
    log_probs = brute_force.draw_log_probs(6, seed=1)
    options = {"language_model": word_model, "lm_weight": 0.7, "word_score": 0.2, **ALL}
    cold = decode(BeamSearchDecoder(brute_force.tokens, **options), log_probs)
    hot = decode(BeamSearchDecoder(brute_force.tokens, **options, hot_words=["bb"], hot_word_score=3.0), log_probs)
    assert_same(hot, {tuple(text.split()): score + 3.0 * text.split().count("bb") for text, score in cold.items()})
    assert list(hot) != list(cold)


def test_adds_a_hot_word_to_the_lexicon_as_an_unknown_word(brute_force, word_model):
    log_probs = brute_force.draw_log_probs(6, seed=2)
    model = NgramModel.load(word_model)
    decoder = BeamSearchDecoder(
        brute_force.tokens, language_model=word_model, lm_weight=0.7, hot_words=["ba"], hot_word_score=3.0, **ALL
    )
    assert decoder.lexicon == ("a", "ab", "ba", "bb")
    expected = {
        words: score + 0.7 * model.score(" ".join(words)) + 3.0 * words.count("ba")
        for words, score in brute_force.add_up(
            log_probs, lambda path: brute_force.to_words(brute_force.collapse(path))
        ).items()
        if {"ba", *model.vocabulary}.issuperset(words)
    }
    assert_same(decode(decoder, log_probs), expected)


@pytest.mark.parametrize("lm_weight", [0.0, 0.5])
def test_hot_words_without_a_language_model(brute_force, word_model, lm_weight):
    """A weight of 0 turns off the language model but not the hot words."""
    log_probs = brute_force.draw_log_probs(6, seed=1)
    language_model = None if lm_weight else word_model
    options = {"lexicon": ["a", "ab", "bb"], "lm_weight": lm_weight, "language_model": language_model, **ALL}
    cold = decode(BeamSearchDecoder(brute_force.tokens, **options), log_probs)
    hot = decode(BeamSearchDecoder(brute_force.tokens, **options, hot_words=["ab"], hot_word_score=2.0), log_probs)
    assert_same(hot, {tuple(text.split()): score + 2.0 * text.split().count("ab") for text, score in cold.items()})


def test_hot_words_without_a_lexicon_rerank_the_beam(brute_force):
    log_probs = brute_force.draw_log_probs(5, seed=1)
    cold = decode(BeamSearchDecoder(brute_force.tokens, **ALL), log_probs)
    hot = decode(BeamSearchDecoder(brute_force.tokens, hot_words=["ab"], hot_word_score=2.0, **ALL), log_probs)
    assert_same(hot, {tuple(text.split()): score + 2.0 * text.split().count("ab") for text, score in cold.items()})


def test_equals_greedy_decoding_for_confident_frames(brute_force):
    path = [0, 2, 2, 0, 3, 1, 1, 0, 0, 3, 0, 3]
    log_probs = np.log(np.full((12, 4), 0.001))
    log_probs[np.arange(12), path] = np.log(0.997)
    greedy = greedy_decode(log_probs, brute_force.tokens, seconds_per_frame=0.04)
    for lexicon in (None, ["ab", "bb"]):
        best, second = BeamSearchDecoder(brute_force.tokens, lexicon=lexicon, beam_threshold=1e6).decode(
            log_probs, seconds_per_frame=0.04, num_best=2
        )
        assert (best.text, best.words, best.tokens) == (greedy.text, greedy.words, greedy.tokens)
        assert second.text != best.text
        assert second.score < best.score


def test_a_narrow_beam_returns_fewer_texts(brute_force):
    log_probs = brute_force.draw_log_probs(6, seed=0, sharpness=1.0)
    found = {
        size: len(decode(BeamSearchDecoder(brute_force.tokens, beam_size=size, beam_threshold=1e6), log_probs))
        for size in (1, 10)
    }
    assert found[1] == 1 < found[10] <= 10
    near = decode(BeamSearchDecoder(brute_force.tokens, beam_size=5000, beam_threshold=1.0), log_probs)
    assert len(near) < len(decode(BeamSearchDecoder(brute_force.tokens, **ALL), log_probs))


@pytest.mark.parametrize("lexicon", [None, ["a"]])
def test_empty_and_silent_input(brute_force, lexicon):
    decoder = BeamSearchDecoder(brute_force.tokens, lexicon=lexicon)
    silence = np.log(np.array([[0.997, 0.001, 0.001, 0.001]] * 3))
    for log_probs in (np.zeros((0, 4), np.float32), silence[:1], silence):
        (best,) = decoder.decode(log_probs, seconds_per_frame=0.04)
        assert (best.text, best.words) == ("", ())


def test_tokens_of_several_characters_are_not_used_in_spellings():
    tokens = ("<pad>", "|", "<unk>", "a")
    log_probs = np.log(np.full((3, 4), 0.01))
    log_probs[range(3), [3, 1, 2]] = np.log(0.97)
    assert BeamSearchDecoder(tokens).decode(log_probs, seconds_per_frame=0.04)[0].text == "a <unk>"
    with pytest.raises(HFSpeechError, match=r"'<unk>'\) can be spelled"):
        BeamSearchDecoder(tokens, lexicon=["<unk>"])


def test_a_model_without_a_delimiter_recognizes_single_words():
    tokens = ("<pad>", "a", "b")
    log_probs = np.log(np.full((4, 3), 0.01))
    log_probs[range(4), [1, 0, 1, 2]] = np.log(0.98)
    assert BeamSearchDecoder(tokens).decode(log_probs, seconds_per_frame=0.04)[0].text == "aab"
    decoder = BeamSearchDecoder(tokens, lexicon=["ab", "a"])
    assert decoder.decode(log_probs, seconds_per_frame=0.04)[0].text == "ab"


def test_reads_a_lexicon_from_a_file(tmp_path, brute_force):
    path = tmp_path / "words.txt"
    path.write_text("bb\n\n a \nbb\n")
    assert BeamSearchDecoder(brute_force.tokens, lexicon=path).lexicon == ("a", "bb")
    with pytest.raises(HFSpeechError, match=r"missing\.txt cannot be read"):
        BeamSearchDecoder(brute_force.tokens, lexicon=str(tmp_path / "missing.txt"))
    path.write_text("\n")
    with pytest.raises(HFSpeechError, match=r"words\.txt has no words"):
        BeamSearchDecoder(brute_force.tokens, lexicon=path)


def test_reports_words_that_cannot_be_spelled(brute_force):
    with pytest.warns(UserWarning, match=r"1 of 2 words in the lexicon, such as 'é'") as caught:
        decoder = BeamSearchDecoder(brute_force.tokens, lexicon=["a", "é"])
    assert caught[0].filename == __file__, "the warning points to the line that made the decoder"
    assert (decoder.lexicon, decoder.unspellable) == (("a",), ("é",))
    with pytest.raises(HFSpeechError, match="No word of the lexicon"):
        BeamSearchDecoder(brute_force.tokens, lexicon=["A", "B"])


@pytest.mark.parametrize("lexicon", [None, ["a"]])
@pytest.mark.parametrize("wrong", ["A", "a b", "a|b", ""])
def test_reports_hot_words_that_cannot_be_spelled(brute_force, lexicon, wrong):
    with pytest.raises(HFSpeechError, match=re.escape(f"hot word '{wrong}'")):
        BeamSearchDecoder(brute_force.tokens, lexicon=lexicon, hot_words=["a", wrong])


def test_rejects_language_models_that_do_not_fit(tmp_path, brute_force, character_model):
    single = build_arpa(TEXT, 1, tmp_path / "single.arpa").path
    with pytest.raises(HFSpeechError, match=r"single\.arpa is a language model of order 1"):
        BeamSearchDecoder(brute_force.tokens, language_model=single)
    with pytest.raises(HFSpeechError, match="use no lexicon"):
        BeamSearchDecoder(brute_force.tokens, language_model=character_model, lexicon=["ab", "bb"])
    with pytest.raises(HFSpeechError, match="cannot be read"):
        BeamSearchDecoder(brute_force.tokens, language_model=tmp_path / "missing.arpa")


def test_loading_a_language_model_prints_nothing(brute_force, word_model, capfd):
    BeamSearchDecoder(brute_force.tokens, language_model=word_model)
    assert capfd.readouterr() == ("", "")


def test_rejects_tokens_with_white_space():
    with pytest.raises(HFSpeechError, match="The token ' ' contains whitespace"):
        BeamSearchDecoder(("<pad>", " ", "a"))


def test_rejects_log_probs_of_another_model(brute_force):
    with pytest.raises(HFSpeechError, match=r"\(frames, 4\)"):
        BeamSearchDecoder(brute_force.tokens).decode(brute_force.draw_log_probs(3, tokens=5), seconds_per_frame=0.04)


def test_supports_tokenizers_of_transformers(tmp_path, word_model):
    """The ids of blank and delimiter come from the tokenizer."""
    vocabulary = {"|": 0, "a": 1, "<unk>": 2, "b": 3, "<pad>": 4}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    tokenizer = Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"), bos_token=None, eos_token=None)
    decoder = BeamSearchDecoder.for_tokenizer(tokenizer, language_model=word_model)
    log_probs = np.log(np.full((6, 5), 0.001))
    log_probs[range(6), [1, 3, 0, 3, 4, 3]] = np.log(0.996)
    assert decoder.decode(log_probs, seconds_per_frame=0.02)[0].text == "ab bb"
    assert decoder.lexicon == ("a", "ab", "bb")


@pytest.mark.parametrize("options", [{}, {"hot_words": ["ab"]}])
def test_never_writes_the_special_tokens_of_a_tokenizer(tmp_path, options):
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "a": 5, "b": 6}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    decoder = BeamSearchDecoder.for_tokenizer(Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json")), **options)
    log_probs = np.log(np.full((9, 7), 0.001))
    log_probs[range(9), [1, 5, 3, 6, 4, 5, 0, 5, 2]] = np.log(0.994)
    best, *others = decoder.decode(log_probs, seconds_per_frame=0.02, num_best=20)
    assert best.text == "ab aa"
    assert len(others) > 1
    assert not any("<" in other.text for other in others)
