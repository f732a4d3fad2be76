"""Explorations of a classification corpus and of a transcribed one, made once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from hf_speech.exploration import Exploration, charts, explore, pictures
from hf_speech.training import load_recipe


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    figures: list[Figure] = []
    for module in (charts, pictures):
        save = module.save_figure

        def keep(figure: Figure, path: Path, save=save) -> None:
            figures.append(figure)
            save(figure, path)

        monkeypatch.setattr(module, "save_figure", keep)
    return figures


@pytest.fixture(scope="session")
def explored_tones(tones_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Exploration:
    """The tones, two examples of each class; tests only read it."""
    folder = tmp_path_factory.mktemp("explored") / "tones"
    return explore(load_recipe(tones_recipe), folder, command="hf-speech explore tones.yaml")


@pytest.fixture(scope="session")
def explored_beeps(beeps_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Exploration:
    """The beeps, three examples with their augmented versions; tests only read it."""
    folder = tmp_path_factory.mktemp("explored") / "beeps"
    varied = ["--augmentation.speed", "[0.8,1.2]", "--augmentation.noise_snr", "[10,20]", "--augmentation.joining"]
    varied += ["0.7", "--train_file", "spoken.csv", "--speaker_column", "speaker"]
    varied += ["--augmentation.gain", "[12,14]", "--model.num_time_masks", "2", "--model.time_mask_width", "20"]
    return explore(load_recipe(beeps_recipe, varied), folder, augmented=True, examples=3)


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes empty files instead of pictures, which take most of the time."""
    for module in (charts, pictures):
        monkeypatch.setattr(module, "save_figure", lambda figure, path: Path(path).write_bytes(b""))
