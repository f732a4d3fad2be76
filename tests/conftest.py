"""Shared fixtures: real recordings, small sounds, and no network."""

from __future__ import annotations

import atexit
import os
import runpy
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

# Set before transformers and huggingface_hub are imported: the tests never reach for the internet, and small
# recurrences crawl when several OpenMP threads spin on a busy machine.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# transformers copies the code of models here. Each test process has a folder of its own: two at once would read what
# the other one has written to its half, and nothing is left in the developer's cache.
os.environ["HF_MODULES_CACHE"] = tempfile.mkdtemp(prefix="hf-modules-")
atexit.register(shutil.rmtree, os.environ["HF_MODULES_CACHE"], ignore_errors=True)

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_sessionstart() -> None:
    """Copies the remote code of the models in `pretrained/`, which git tracks only in the package."""
    runpy.run_path(str(REPOSITORY / "scripts" / "pretrained_code.py"), run_name="__main__")


@pytest.fixture(scope="session")
def corpora_dir() -> Path:
    """The folder of real recordings beside the checkout; tests that need it are skipped if it is missing."""
    folder = REPOSITORY.parent / "shared" / "corpora"
    if not folder.is_dir():
        pytest.skip("real recordings (../shared/corpora) are not on this machine")
    return folder


@pytest.fixture(scope="session")
def fsdd_dir(corpora_dir: Path) -> Path:
    """The real Free Spoken Digit Dataset."""
    return corpora_dir / "free-spoken-digit-dataset"


@pytest.fixture
def impatient_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Avoids the 5 s for which each unfinished stream of `datasets` waits for its threads."""
    import datasets

    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0.01)


def tone(seconds: float, frequency: float = 440.0, sampling_rate: int = 16_000, amplitude: float = 0.5) -> np.ndarray:
    """Returns a sine of `frequency` Hz as float32 samples."""
    time = np.arange(round(seconds * sampling_rate)) / sampling_rate
    return (amplitude * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


@pytest.fixture
def make_tone():
    """The function `tone(seconds, frequency, sampling_rate, amplitude)`."""
    return tone


@pytest.fixture
def digit_folder(tmp_path: Path) -> Path:
    """A corpus with a subfolder per class: 'low' and 'high' tones of three speakers, ten clips per speaker."""
    return write_tones(tmp_path)


def write_tones(tmp_path: Path) -> Path:
    """Writes the corpus of `digit_folder` into a folder and returns the folder of the corpus."""
    rng = np.random.default_rng(0)
    for label, base in (("low", 300.0), ("high", 1200.0)):
        (tmp_path / "tones" / label).mkdir(parents=True)
        for speaker in range(3):
            for index in range(10):
                seconds = rng.uniform(0.3, 0.6)
                samples = tone(seconds, base * rng.uniform(0.9, 1.1), sampling_rate=8000, amplitude=0.3)
                noisy = samples + rng.normal(0, 0.01, samples.shape).astype(np.float32)
                soundfile.write(tmp_path / "tones" / label / f"speaker{speaker}_{index}.wav", noisy, 8000)
    return tmp_path / "tones"


TONES_RECIPE = """
task: audio-classification
corpus: {name: folder, speaker_pattern: "(speaker[0-9])_", validation_fraction: 0.3, test_fraction: 0.3}
features: {sampling_rate: 8000, num_mel_bins: 16, hop_length: 80, win_length: 200, normalization: none}
augmentation: {noise_snr: [20, 40]}
model: {hidden_size: 8, num_hidden_layers: 1, dropout: 0.0}
training: {num_train_epochs: 4, per_device_train_batch_size: 4, learning_rate: 1.0e-2, dataloader_num_workers: 0}
"""


@pytest.fixture(scope="session")
def tones_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that learns to distinguish 'low' and 'high' tones in a second."""
    folder = tmp_path_factory.mktemp("tones")
    path = folder / "tones.yaml"
    path.write_text(TONES_RECIPE.replace("name: folder,", f"name: folder, data_dir: {write_tones(folder)},"))
    return path


@pytest.fixture(scope="session")
def tones_run(tones_recipe: Path) -> Path:
    """The run folder of that recipe; tests only read it."""
    from hf_speech.training import load_recipe, train

    return train(load_recipe(tones_recipe), tones_recipe.parent / "run").run_dir


BEEPS_RECIPE = """
task: automatic-speech-recognition
corpus: {name: csv, data_dir: FOLDER, train_file: FOLDER/beeps.csv, text_column: text, split_column: split}
features: {sampling_rate: 8000, num_mel_bins: 24, hop_length: 80, win_length: 200, normalization: none}
augmentation: {}
model:
  {frontend: subsampling, subsampling: 4, channels: 32, num_convolutions: 1, hidden_size: 48, num_hidden_layers: 1,
   bidirectional: false, causal: true, lookahead: 4, dropout: 0.0}
training:
  {num_train_epochs: 12, per_device_train_batch_size: 8, learning_rate: 1.0e-2, dataloader_num_workers: 0,
   per_device_eval_batch_size: 7}
"""
BEEPS = {"a": 400.0, "b": 900.0, "c": 1800.0}


def beep(text: str, sampling_rate: int = 8000, seed: int = 0) -> np.ndarray:
    """Returns a tone of 0.12 s for each letter of `text`, with silence between tones and words."""
    rng = np.random.default_rng(seed)
    pieces = [np.zeros(sampling_rate // 10)]
    for letter in text:
        if letter == " ":
            pieces.append(np.zeros(sampling_rate // 4))
        else:
            pieces.append(tone(0.12, BEEPS[letter] * rng.uniform(0.97, 1.03), sampling_rate, 0.3))
            pieces.append(np.zeros(sampling_rate * 8 // 100))
    samples = np.concatenate([*pieces, np.zeros(sampling_rate // 10)])
    return (samples + rng.normal(0, 0.003, samples.shape)).astype(np.float32)


@pytest.fixture(scope="session")
def make_beeps():
    """The function `beep(text, sampling_rate, seed)`, whose sounds the model of `beeps_run` transcribes."""
    return beep


@pytest.fixture(scope="session")
def beeps_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that learns to transcribe tones as letters in a few seconds."""
    folder = tmp_path_factory.mktemp("beeps")
    rng = np.random.default_rng(0)
    lines = ["path,text,split"]
    for index in range(180):
        words = ["".join(rng.choice(list(BEEPS), rng.integers(1, 4))) for _ in range(rng.integers(1, 4))]
        soundfile.write(folder / f"{index}.wav", beep(" ".join(words), seed=index), 8000)
        split = "test" if index >= 170 else "validation" if index >= 160 else "train"
        lines.append(f"{index}.wav,{' '.join(words)},{split}")
    (folder / "beeps.csv").write_text("\n".join(lines) + "\n")
    # The same utterances with four speakers in each split, for tests that need speakers.
    spoken = [f"{line},{line.rpartition(',')[2]}-{index % 4}" for index, line in enumerate(lines[1:])]
    (folder / "spoken.csv").write_text("\n".join(["path,text,split,speaker", *spoken]) + "\n")
    path = folder / "beeps.yaml"
    path.write_text(BEEPS_RECIPE.replace("FOLDER", str(folder)))
    return path


@pytest.fixture(scope="session")
def beeps_run(beeps_recipe: Path) -> Path:
    """The run folder of that recipe, a causal recognizer; tests only read it."""
    from hf_speech.training import load_recipe, train

    return train(load_recipe(beeps_recipe), beeps_recipe.parent / "run").run_dir
