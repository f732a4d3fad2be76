"""Options of a beam search: tuned ones beside a language model, and given ones before them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_speech.errors import ModelError
from hf_speech.inference.beam_options import BeamOptions


def test_given_options_come_before_tuned_ones(tmp_path: Path) -> None:
    model = tmp_path / "lm.arpa"
    with pytest.raises(ModelError, match="There is no language model"):
        BeamOptions.beside(model)
    model.write_text("")
    assert BeamOptions.beside(model, beam_size=None) == BeamOptions(model)
    BeamOptions(model, lm_weight=0.8, word_score=-1.0, phone_weight=0.3, beam_size=30).save(corpus="an4")
    assert BeamOptions.beside(model) == BeamOptions(model, 0.8, -1.0, 0.3, 30)
    assert BeamOptions.beside(model, lm_weight=0.0, beam_size=9) == BeamOptions(model, 0.0, -1.0, 0.3, 9)


def test_without_a_language_model_there_is_nothing_to_weigh() -> None:
    assert BeamOptions.beside(None, word_score=1.0) == BeamOptions(word_score=1.0)
    with pytest.raises(ModelError, match="no language model that lm_weight could weigh"):
        BeamOptions.beside(None, lm_weight=0.5)
