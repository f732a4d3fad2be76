"""Distillation of states: interpolation to the student's frames, its loss, and both model families."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_runs import cut_off

from hf_speech.data.dataset import SpeechCollator
from hf_speech.errors import CorpusError, HFSpeechError, RecipeError
from hf_speech.inference import load_model
from hf_speech.training import load_recipe, train
from hf_speech.training.distillation import PROJECTION_FILE, StateDistillation
from hf_speech.training.options import EncoderTeacher
from hf_speech.training.preparation import prepare
from hf_speech.training.teacher_states import TeacherEncoder

FAST = ["--training.max_steps", "4", "--training.eval_steps", "2", "--training.load_best_model_at_end", "false"]


def taught(whisper: Path, **options: Any) -> list[str]:
    return ["--training.teacher", json.dumps({"model": str(whisper), **options}), *FAST]


def make(whisper: Path, run: Path, **options: Any) -> tuple[StateDistillation, Any]:
    loaded = load_model(run)
    teacher = TeacherEncoder(EncoderTeacher(str(whisper), **options))
    distillation = StateDistillation(
        EncoderTeacher(str(whisper), **options), teacher, loaded.model, loaded.feature_extractor
    )
    return distillation, loaded.model


def test_each_frame_predicts_its_time_in_the_recording(whisper: Path, beeps_run: Path) -> None:
    distillation, _ = make(whisper, beeps_run)  # Frames of 40 ms.

    # Each state is the moment of its middle, and so is what is interpolated between two of them.
    def states_of(row: int) -> np.ndarray:
        return (100 * row + 0.01 + 0.02 * np.arange(50))[:, None].astype(np.float64)

    def moments(*source: float, length: float = 1000) -> dict[int, float]:
        states, known = distillation._targets(states_of, source, 30, length)
        return dict(zip(np.flatnonzero(known).tolist(), states[:, 0].tolist(), strict=True))

    assert moments(0, -1, 0.0, 1.0) == pytest.approx({frame: 0.02 + 0.04 * frame for frame in range(25)}, abs=1e-6)
    assert len(moments(0, -1, 0.0, 1.0, length=40)) == 10, "padding predicts nothing"
    faster = moments(0, -1, 0.0, 1.25)
    assert faster == pytest.approx({frame: 1.25 * (0.02 + 0.04 * frame) for frame in range(20)}, abs=1e-6)
    after_silence = moments(0, -1, -0.1, 1.0)
    assert after_silence == pytest.approx({frame: 0.04 * frame - 0.08 for frame in range(2, 27)} | {2: 0.01}, abs=1e-2)
    joined = moments(1, 0, 0.5, 1.0)
    assert [joined[0], joined[20]] == pytest.approx([100.52, 0.32]), "the second begins after 1 s"


@pytest.mark.parametrize("layers", [None, [1, 2]])
def test_the_loss_decreases_on_a_fixed_batch(whisper: Path, beeps_run: Path, layers: list[int] | None) -> None:
    distillation, model = make(whisper, beeps_run, weight=1.0, layers=layers, student_layer=1)
    states = [
        TeacherEncoder(EncoderTeacher(str(whisper), layers=layers))(noise)
        for noise in np.random.default_rng(0).standard_normal((2, 16000)).astype(np.float32)
    ]
    distillation.states["train"] = states.__getitem__
    inputs = {"input_features": torch.randn(2, 100, 24), "attention_mask": torch.ones(2, 100)}
    inputs["attention_mask"][1, 60:] = 0
    sources = torch.tensor([[0, -1, 0, 1], [1, -1, 0, 1]], dtype=torch.float32)
    optimizer = torch.optim.Adam([*model.parameters(), *distillation.projection.parameters()], 1e-2)
    losses = []
    for _ in range(12):
        hidden = model.train()(**inputs, output_hidden_states=True).hidden_states
        loss = distillation(torch.tensor(100.0), hidden, inputs, sources)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0] < 100, "and the loss of the labels has no weight"
    assert distillation(torch.tensor(1.0), hidden, inputs, sources - torch.tensor([0, 0, 9, 0])) == 0, (
        "no frame is known"
    )


def test_the_mean_of_a_clip_does_not_depend_on_the_order_of_its_frames(whisper: Path, beeps_run: Path) -> None:
    distillation, _ = make(whisper, beeps_run, weight=1.0, mean_weight=1.0)
    states_of = [np.random.default_rng(row).standard_normal((100, 16)) for row in range(2)].__getitem__
    distillation.states["train"] = states_of
    distillation.mean_statistics = torch.full((16,), 0.1), torch.full((16,), 0.5)
    inputs = {"input_features": torch.zeros(2, 200, 24), "attention_mask": torch.ones(2, 200)}
    sources = torch.tensor([[0, -1, 0, 1], [1, -1, 0, 1]], dtype=torch.float32)
    hidden = torch.randn(2, 50, distillation.projection.in_features)

    def loss(states: torch.Tensor) -> float:
        return float(distillation(torch.tensor(0.0), [states] * 2, inputs, sources))

    assert loss(hidden[:, torch.randperm(50)]) == pytest.approx(loss(hidden), abs=1e-5)
    assert loss(hidden.flip(0)) != pytest.approx(loss(hidden), abs=1e-3), "but on the clip"
    with torch.no_grad():  # An exact prediction of the mean has the smallest loss: the similarity is 1.
        distillation.projection.weight.zero_()
        mean = distillation._targets(states_of, sources[0].tolist(), 50, 200)[0].mean(0)
        distillation.projection.bias.copy_(torch.from_numpy(mean))
    alone = {"input_features": inputs["input_features"][:1], "attention_mask": inputs["attention_mask"][:1]}
    least = distillation(torch.tensor(0.0), [hidden[:1]] * 2, alone, sources[:1])
    assert float(least) == pytest.approx(-np.log(1 / (1 + np.exp(-1))), abs=1e-4)


def test_the_mean_is_standardized_over_the_recordings(
    whisper: Path, tones_recipe: Path, tones_run: Path, cache: Path
) -> None:
    audio = list(load_recipe(tones_recipe).corpus.load()["train"]["audio"])[:5]
    distillation, _ = make(whisper, tones_run, mean_weight=0.5)
    teacher = TeacherEncoder(EncoderTeacher(str(whisper)))
    distillation.read(teacher, {"train": SimpleNamespace(audio=audio, own_durations=[1.0] * 5)})
    means = np.stack([teacher.states_of(source).mean(axis=0, dtype=np.float32) for source in audio])
    shift, scale = distillation.mean_statistics
    np.testing.assert_allclose(shift.numpy(), means.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(scale.numpy(), means.std(axis=0) + 1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def taught_run(whisper: Path, tones_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of tones that was trained with Whisper as teacher and weight averaging."""
    words = [
        *taught(whisper, mean_weight=0.3),
        "--training.weight_averaging",
        "0.5",
        "--augmentation.speed",
        "[0.9, 1.1]",
    ]
    return train(load_recipe(tones_recipe, words), tmp_path_factory.mktemp("taught") / "run", splits=()).run_dir


def test_a_classifier_learns_and_its_folder_has_no_projection(taught_run: Path, tones_run: Path, whisper: Path) -> None:
    keys = load_file(tones_run / "model.safetensors").keys()
    assert load_file(taught_run / "model.safetensors").keys() == keys
    load_model(taught_run)  # Refuses weights that the model does not have.
    for checkpoint in (taught_run / "checkpoints").iterdir():
        assert load_file(checkpoint / "model.safetensors").keys() == keys
        assert load_file(checkpoint / PROJECTION_FILE).keys() == {"weight", "bias"}
    assert (
        json.loads((taught_run / "config.json").read_text()).keys()
        == json.loads((tones_run / "config.json").read_text()).keys()
    )
    recipe = load_recipe(taught_run / "recipe.yaml", to_train=False)
    assert recipe.training.encoder_teacher() == EncoderTeacher(str(whisper), mean_weight=0.3), (
        "with all defaults written out"
    )


def test_states_alone_are_validated_by_the_loss_of_the_teacher(
    whisper: Path, tones_recipe: Path, cache: Path, tmp_path: Path
) -> None:
    recordings = tmp_path / "recordings" / "all"  # A single class.
    recordings.mkdir(parents=True)
    for source in list(load_recipe(tones_recipe).corpus.load()["train"]["audio"])[:10]:
        shutil.copy(source["path"], recordings)
    words = ["--corpus.name", "folder", "--data_dir", str(recordings.parent), "--speaker_pattern", "null"]
    words += ["--validation_fraction", "0.3", "--training.max_steps", "4", "--training.eval_steps", "2"]
    with pytest.raises(CorpusError, match="has one class in train"):
        train(load_recipe(tones_recipe, words), tmp_path / "labeled")

    teacher = {"model": str(whisper), "weight": 1, "mean_weight": 0.3}
    words += ["--training.teacher", json.dumps(teacher), "--training.load_best_model_at_end", "true"]
    recipe = load_recipe(tones_recipe, words)
    result = train(recipe, tmp_path / "run")
    assert result.metrics == {}
    assert not (result.run_dir / "evaluation").is_dir()
    log = [entry for entry in json.loads((result.run_dir / "training.json").read_text())["log"] if "eval_loss" in entry]
    assert [entry["step"] for entry in log] == [2, 4]
    assert not any("accuracy" in key for entry in log for key in entry)

    best = min(log, key=lambda entry: entry["eval_loss"])
    loaded = load_model(result.run_dir)
    parts, _ = prepare(recipe)
    distillation, validation = parts.distillation, parts.datasets["validation"]
    assert isinstance(distillation, StateDistillation)
    projection = result.run_dir / "checkpoints" / f"checkpoint-{best['step']}" / PROJECTION_FILE
    distillation.projection.load_state_dict(load_file(projection))
    batch = SpeechCollator(loaded.feature_extractor, torch.tensor)([validation[row] for row in range(len(validation))])
    features = {key: batch[key] for key in ("input_features", "attention_mask") if key in batch}
    with torch.no_grad():
        hidden = loaded.model.eval()(**features, output_hidden_states=True).hidden_states
        expected = distillation(torch.tensor(9.0), hidden, features, batch["sources"], "validation")
    assert best["eval_loss"] == pytest.approx(float(expected), rel=1e-4)


def test_a_resumed_run_is_identical(taught_run: Path, tmp_path: Path) -> None:
    run = cut_off(taught_run, tmp_path / "run", 2)
    train(load_recipe(run / "recipe.yaml"), run, resume=True, splits=())
    for file in ("model.safetensors", f"checkpoints/checkpoint-4/{PROJECTION_FILE}"):
        one, two = load_file(taught_run / file), load_file(run / file)
        assert all(torch.equal(one[key], two[key]) for key in one), file
    last = run / "checkpoints" / "checkpoint-4"
    (last / PROJECTION_FILE).unlink()
    (last / "sha256.json").unlink()
    train(load_recipe(run / "recipe.yaml"), run, resume=True, splits=())
    assert (last / PROJECTION_FILE).is_file(), "a checkpoint without it is not whole"


def test_states_computed_in_every_step_equal_those_of_the_cache(
    taught_run: Path, whisper: Path, cache: Path, tmp_path: Path
) -> None:
    recipes = [load_recipe(taught_run / "recipe.yaml", taught(whisper, cache=cached)) for cached in (False, True)]
    uncached = train(recipes[0], tmp_path / "uncached", splits=()).run_dir
    assert not (cache / "states").exists()
    cached = train(recipes[1], tmp_path / "cached", splits=()).run_dir
    one, two = (load_file(run / "model.safetensors") for run in (uncached, cached))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_recognizer_learns_from_variants_and_joined_utterances(
    beeps_recipe: Path, whisper: Path, cache: Path, tmp_path: Path
) -> None:
    table = beeps_recipe.parent / "spoken.csv"
    words = [*taught(whisper, layers=[1, 2], student_layer=0, weight=0.3), "--corpus.train_file", str(table)]
    words += [
        "--corpus.speaker_column",
        "speaker",
        "--augmentation.joining",
        "0.5",
        "--augmentation.silence",
        "[-0.1, 0.2]",
    ]
    words += ["--augmentation.variants", "1", "--training.cache_features", "true", "--training.max_steps", "2"]
    recipe = load_recipe(beeps_recipe, [*words, "--model.consistency_weight", "0.1"])
    load_model(train(recipe, tmp_path / "run", splits=()).run_dir)
    assert len(list((cache / "states").glob("*/states.f16"))) == 1


@pytest.mark.parametrize(
    ("options", "words", "message"),
    [
        ({"layers": [1, 3]}, [], "has the layers 1 to 2 .*layers contains 3"),
        ({"layers": [-1]}, [], "has the layers 1 to 2 .*layers contains -1"),
        ({"student_layer": 2}, [], "has the layers 1 to 1 .*student_layer is 2"),
        ({}, ["--model.mixup_alpha", "0.2"], "mixup_alpha to 0"),
        ({}, ["--features.time_average", "true"], "time_average to false"),
        ({"model": "nowhere/at-all"}, [], "The teacher nowhere/at-all cannot be loaded"),
    ],
)
def test_rejects_a_teacher_that_does_not_fit_before_training(
    options: dict[str, Any],
    words: list[str],
    message: str,
    tones_recipe: Path,
    whisper: Path,
    tmp_path: Path,
    cache: Path,
) -> None:
    with pytest.raises(HFSpeechError, match=message):
        train(load_recipe(tones_recipe, [*taught(whisper, **options), *words]), tmp_path / "run")
    assert not (cache / "states").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{model: x, layer: [1]}", "unknown key 'layer': did you mean 'layers'"),
        ("{layers: [1]}", "training.teacher cannot be used.*model"),
        ("{model: x, layers: last}", "training.teacher cannot be used.*layers"),
        ("{model: x, layers: []}", "list at least one layer"),
        ("{model: x, mean_weight: 0.5, cache: false}", "mean_weight needs .* set training.teacher.cache to true"),
        ("{model: x, weight: 2}", "training.teacher.weight must be between 0 and 1"),
    ],
)
def test_rejects_an_invalid_teacher_when_reading_the_recipe(value: str, message: str, tones_recipe: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(tones_recipe, ["--training.teacher", value])
