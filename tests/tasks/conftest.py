"""A keyword spotter of two tones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from hf_speech.inference import load_model
from hf_speech.training import load_recipe, train

RATE = 8000
RECIPE = """
name: beeps
task: keyword-spotting
corpus: {name: keywords, data_dir: FOLDER/clips, validation_fraction: 0.3, test_fraction: 0.3, clip_copies: 2,
         train_negatives: [FOLDER/noise], validation_negatives: [FOLDER/noise], test_negatives: [FOLDER/noise],
         negative_seconds: 5}
features: {sampling_rate: 8000, num_mel_bins: 16, hop_length: 80, win_length: 200, normalization: global}
augmentation: {trim: 30, context_folders: [FOLDER/noise], context_before: [0, 0.3], context_after: [0.1, 0.2]}
model: {subsampling: 4, stem_channels: 4, channels: 16, num_convolutions: 1, hidden_size: 16, num_hidden_layers: 1,
        bidirectional: false, causal: true}
training: {max_steps: 2, per_device_train_batch_size: 8, dataloader_num_workers: 0}
"""


@pytest.fixture(scope="module")
def keywords_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of two beeps, and noise."""
    folder = tmp_path_factory.mktemp("beeps")
    rng = np.random.default_rng(0)
    time = np.arange(RATE // 2) / RATE
    for name, frequency in (("high", 1500), ("low", 400)):
        (folder / "clips" / name).mkdir(parents=True)
        for index in range(8):
            beep = 0.3 * np.sin(2 * np.pi * frequency * time) + rng.normal(0, 0.003, time.shape)
            soundfile.write(folder / "clips" / name / f"{index}.wav", beep, RATE)
    (folder / "noise").mkdir()
    for index in range(3):
        soundfile.write(folder / "noise" / f"{index}.wav", rng.normal(0, 0.1, 2 * RATE), RATE)
    return folder


@pytest.fixture(scope="module")
def spotter_dir(keywords_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose logits vary enough for events."""
    recipe = keywords_dir / "recipe.yaml"
    recipe.write_text(RECIPE.replace("FOLDER", str(keywords_dir)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_SPEECH_CACHE", str(tmp_path_factory.mktemp("cache")))
        run = train(load_recipe(recipe), keywords_dir / "run").run_dir
    loaded = load_model(run)
    torch.manual_seed(0)
    torch.nn.init.normal_(loaded.model.classifier.weight, std=2.0)
    loaded.model.save_pretrained(run)
    return run
