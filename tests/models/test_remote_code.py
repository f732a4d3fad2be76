"""Saved folders run in a process that cannot import hf_speech."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

STRANGER = """
import json, sys
sys.modules["hf_speech"] = None  # From here on, importing it raises ImportError.
import soundfile, torch
from transformers import pipeline

classifier = pipeline("audio-classification", model=sys.argv[1], trust_remote_code=True)
results = {}
for path in sys.argv[2:]:
    samples, rate = soundfile.read(path, dtype="float32")
    inputs = classifier.feature_extractor(samples, sampling_rate=rate, return_tensors="pt")
    results[path] = {
        "pipeline": classifier({"raw": samples, "sampling_rate": rate}),
        "logits": classifier.model(**inputs).logits[0].tolist(),
    }
batched = classifier(
    [{"raw": soundfile.read(path, dtype="float32")[0], "sampling_rate": 8000} for path in sys.argv[2:]], batch_size=2
)
code = type(classifier.model).__module__, type(classifier.feature_extractor).__module__
print(json.dumps({"results": results, "batched": batched, "code": code}))
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("clips")
    paths = []
    for seconds in (0.31, 0.6):
        paths.append(str(folder / f"{seconds}.wav"))
        soundfile.write(paths[-1], rng.uniform(-0.3, 0.3, round(8000 * seconds)), 8000)
    return paths


def test_saved_folder_runs_without_the_package(tones_run: Path, clips: list[str], tmp_path: Path) -> None:
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    command = [sys.executable, "-c", STRANGER, str(tones_run), *clips]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr[-2000:]
    answer = json.loads(finished.stdout.splitlines()[-1])
    assert all(module.startswith("transformers_modules") for module in answer["code"])

    from hf_speech.inference import load_model, predict

    loaded = load_model(tones_run)
    for prediction in predict(loaded, clips, progress=False):
        path = clips[prediction.index]
        stranger = answer["results"][path]
        np.testing.assert_allclose(stranger["logits"], prediction.logits, atol=1e-5)
        probabilities = torch.tensor(prediction.logits).softmax(0)
        best = stranger["pipeline"][0]
        assert best["label"] == loaded.model.config.id2label[int(probabilities.argmax())]
        assert best["score"] == pytest.approx(float(probabilities.max()), abs=1e-5)
        in_batch = answer["batched"][prediction.index]
        assert in_batch[0]["score"] == pytest.approx(best["score"], abs=1e-5)
