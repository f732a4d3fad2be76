"""Voice activity detection: a tiny model learns to find tones in noise, in files of any length."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from command_line import run

from hf_speech.common.segments import find_segments, overlap, parse_segments
from hf_speech.decoding.keywords import frame_probabilities
from hf_speech.errors import CorpusError, ModelError, RecipeError
from hf_speech.inference import find_speech, load_model, predict
from hf_speech.publishing import check_card, render_card
from hf_speech.tasks import get_task
from hf_speech.training import load_recipe, train

RATE = 8000
RECIPE = """
name: tones
task: voice-activity-detection
corpus: {name: csv, train_file: FOLDER/rows.csv, text_column: segments, split_column: split}
features: {sampling_rate: 8000, num_mel_bins: 16, hop_length: 80, win_length: 200, normalization: global}
augmentation: {gain: [-3, 3]}
model: {subsampling: 2, stem_channels: 4, channels: 16, num_convolutions: 1, hidden_size: 16, num_hidden_layers: 1,
        bidirectional: false, causal: true, dropout: 0.0}
training: {num_train_epochs: 25, per_device_train_batch_size: 8, learning_rate: 1.0e-2, dataloader_num_workers: 0}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of noise with one or two tones each, and some of only noise."""
    folder = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    with (folder / "rows.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "segments", "split"])
        for index in range(36):
            starts = [rng.uniform(0.2, 0.8), rng.uniform(1.5, 2.0)][: index % 3]
            segments = [(start, start + rng.uniform(0.3, 0.6)) for start in starts]
            time = np.arange(3 * RATE) / RATE
            sound = rng.normal(0, 0.02, time.shape)
            for start, end in segments:
                sound += 0.2 * np.sin(2 * np.pi * 700 * time) * ((time >= start) & (time < end))
            soundfile.write(folder / f"{index}.wav", sound, RATE)
            text = " ".join(f"{start:.3f}-{end:.3f}" for start, end in segments) or "none"
            writer.writerow([f"{index}.wav", text, ("validation", "test", "train")[min(index % 9, 2)]])
    (folder / "recipe.yaml").write_text(RECIPE.replace("FOLDER", str(folder)))
    return folder


@pytest.fixture(scope="module")
def run_dir(folder: Path) -> Path:
    return train(load_recipe(folder / "recipe.yaml"), folder / "run").run_dir


def test_trains_a_voice_activity_detector(run_dir: Path) -> None:
    report = json.loads((run_dir / "evaluation" / "test.json").read_text())
    assert report["metrics"]["f1"] > 0.8
    assert set(report["confidence"]) == {"f1", "precision", "recall"}
    check_card(render_card(run_dir, repo_id="anna/tones", revision="main"), run_dir)


def test_the_loss_uses_the_middle_frame_of_each_logit(run_dir: Path) -> None:
    model = load_model(run_dir, device="cpu").model.train(False)
    features = torch.randn(2, 21, 16)
    mask = torch.ones(2, 21, dtype=torch.long)
    mask[1, 13:] = 0
    labels = torch.randint(0, 2, (2, 22))
    output = model(features, mask, labels)
    logits = [output.logits[0, :10], output.logits[1, :6]]
    targets = [labels[0, 1:20:2], labels[1, 1:12:2]]
    expected = torch.nn.functional.cross_entropy(torch.cat(logits), torch.cat(targets))
    torch.testing.assert_close(output.loss, expected)


def test_a_file_read_in_blocks_has_the_same_segments(run_dir: Path, folder: Path) -> None:
    loaded = load_model(run_dir, device="cpu")
    sound = np.concatenate([soundfile.read(folder / f"{index}.wav")[0] for index in range(4)])
    soundfile.write(folder / "long.wav", sound, RATE)
    (prediction,) = predict(loaded, [{"path": str(folder / "long.wav"), "bytes": None}], progress=False)
    assert prediction.logits is not None
    whole = find_segments(frame_probabilities(prediction.logits)[:, 1], 0.02)
    assert list(find_speech(loaded, folder / "long.wav")) == whole
    assert len(whole) >= 2


def test_segments_command(run_dir: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("segments", str(run_dir), str(folder / "2.wav"), "--format", "json", "--padding", "0") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    with (folder / "rows.csv").open() as file:
        truth = parse_segments(list(csv.DictReader(file))[2]["segments"])
    found = parse_segments(" ".join(f"{row['start']}-{row['end']}" for row in rows))
    assert overlap(truth, found) > 0.7 * sum(segment.end - segment.start for segment in truth)
    assert run("segments", str(run_dir), str(folder / "2.wav"), str(folder / "gone.wav")) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{folder / '2.wav'}:")
    assert "gone.wav" in printed.err


def test_rejects_other_commands_and_models(run_dir: Path, folder: Path, tones_run: Path) -> None:
    assert run("classify", str(run_dir), str(folder / "2.wav")) == 2
    with pytest.raises(ModelError, match="not for voice-activity-detection"):
        list(find_speech(str(tones_run), folder / "2.wav"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--augmentation.speed", "[0.9, 1.1]"], "learns times in the sound: leave out augmentation.speed"),
        (["--augmentation.joining", "0.2"], "leave out augmentation.joining"),
        (["--features.hop_length", "160"], "set features.hop_length to 80"),
        (["--features.max_duration", "1"], "needs all of the sound"),
    ],
)
def test_rejects_recipes_that_shift_times(folder: Path, words: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(folder / "recipe.yaml", words)


def test_rejects_invalid_targets(folder: Path) -> None:
    with pytest.raises(CorpusError, match="'hello' is not a segment"):
        get_task("voice-activity-detection").encode_target({"text": "hello", "duration": 1.0})


def test_metrics_without_speech() -> None:
    metrics = get_task("voice-activity-detection").metrics_from_counts(np.array([[0.0, 0, 0], [0, 1, 0], [1, 2, 1]]))
    assert metrics["f1"].tolist() == pytest.approx([1, 0, 2 / 3])
    assert metrics["precision"].tolist() == pytest.approx([1, 0, 0.5])
    assert metrics["recall"].tolist() == pytest.approx([1, 1, 1])
