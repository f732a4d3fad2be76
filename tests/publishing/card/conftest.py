"""Fixtures: cards for several tests."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from cards import AN4, DIGITS, figures

from hf_speech.publishing import render_card


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits with fixed metrics: 299 and 300 of 300 correct."""
    folder = Path(shutil.copytree(DIGITS, tmp_path_factory.mktemp("known") / "digits"))
    for split, accuracy, interval in (("test", 299 / 300, (0.98136, 0.99941)), ("validation", 1.0, (0.98736, 1.0))):
        report = figures(folder, split)
        report["metrics"] = {"accuracy": accuracy, "f1_micro": accuracy, "f1_macro": 0.99667}
        report["confidence"] = {"accuracy": interval, "f1_macro": (0.98879, 1.0)}
        report["num_utterances"] = 300
        speaker = {"num_utterances": 50, "accuracy": 1.0, "confidence": {"accuracy": [0.92865, 1.0]}}
        report["per_speaker"] = {"theo": speaker, "yweweler": speaker | {"accuracy": 0.98}}
        report["real_time_factor"] = 0.00099 if split == "test" else 0.0013
        (folder / "evaluation" / f"{split}.json").write_text(json.dumps(report))
    recipe = re.sub(r"num_train_epochs: .*", "num_train_epochs: 20.0", (folder / "recipe.yaml").read_text())
    (folder / "recipe.yaml").write_text(recipe)
    return folder


@pytest.fixture(scope="module")
def digits_card(known: Path) -> str:
    return render_card(known, repo_id="anna/digits", revision="v1")


@pytest.fixture(scope="module")
def an4_card() -> str:
    return render_card(AN4, repo_id="anna/an4", revision="v1")
