"""`make train` with the default recipe, in a minute or two."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_speech.training import load_recipe, train

pytest.importorskip("espeakng_loader")


@pytest.mark.slow
def test_trains_digits_on_synthesized_speech(tmp_path: Path) -> None:
    result = train(load_recipe("digits"), tmp_path / "digits")
    assert result.metrics["test"]["accuracy"] > 0.97
    assert result.num_parameters < 1_000_000
