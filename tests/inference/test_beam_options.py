"""Options of a beam search: tuned ones next to a language model, and given ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_speech.errors import HFSpeechError, ModelError
from hf_speech.inference.beam_options import BeamOptions, PhoneOptions


def test_given_options_override_tuned_ones(tmp_path: Path) -> None:
    model = tmp_path / "lm.arpa"
    with pytest.raises(ModelError, match="There is no language model"):
        BeamOptions.beside(model)
    model.write_text("")
    assert BeamOptions.beside(model, beam_size=None) == BeamOptions(model)
    BeamOptions(model, lm_weight=0.8, word_score=-1.0, phone_weight=0.3, beam_size=30).save(corpus="an4")
    assert BeamOptions.beside(model) == BeamOptions(model, 0.8, -1.0, 0.3, 30)
    assert BeamOptions.beside(model, lm_weight=0.0, beam_size=9) == BeamOptions(model, 0.0, -1.0, 0.3, 9)


def test_given_weights_select_the_search_by_letters(tmp_path: Path) -> None:
    model = tmp_path / "lm.arpa"
    model.write_text("")
    tuned = BeamOptions(model, lm_weight=0.4, word_score=1.5, phone_weight=0.5, phones=PhoneOptions(0.8, 0.0, 0.2))
    tuned.save(corpus="librispeech")
    assert BeamOptions.beside(model) == tuned
    assert BeamOptions.beside(model, beam_size=7).phones == PhoneOptions(0.8, 0.0, 0.2)
    for given in ({"lm_weight": 0.4}, {"word_score": 1.0}, {"phone_weight": 0.0}):
        assert BeamOptions.beside(model, **given).phones is None
    assert not BeamOptions.beside(model, phone_weight=0.0).uses_lexicon
    assert BeamOptions(model, phones=PhoneOptions(0.8, 0.0, 0.0)).uses_lexicon
    with pytest.raises(HFSpeechError, match="letter_weight"):
        PhoneOptions(0.8, 0.0, float("nan"))
    (tmp_path / "lm.decoder.json").write_text('{"lm_weight": 1, "word_score": 0, "beam_size": 9, "phones": {"x": 1}}')
    with pytest.raises(ModelError, match="run hf-speech tune-decoder again"):
        BeamOptions.beside(model)


def test_rejects_weights_without_a_language_model() -> None:
    assert BeamOptions.beside(None, word_score=1.0) == BeamOptions(word_score=1.0)
    with pytest.raises(ModelError, match="lm_weight needs a language model"):
        BeamOptions.beside(None, lm_weight=0.5)
