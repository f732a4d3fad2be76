"""Distillation from a teacher's posteriors, and unsuitable teachers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hf_speech.errors import HFSpeechError, RecipeError
from hf_speech.inference import load_model
from hf_speech.training import load_recipe, train
from hf_speech.training.distillation import Distillation

FAST = ["--training.max_steps", "2", "--training.load_best_model_at_end", "false"]


@pytest.fixture(scope="module")
def global_run(tones_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of tones with global normalization."""
    words = [*FAST, "--features.normalization", "global"]
    return train(load_recipe(tones_recipe, words), tmp_path_factory.mktemp("global") / "run", splits=()).run_dir


def test_distills_from_a_classifier(tones_recipe: Path, tones_run: Path, tmp_path: Path) -> None:
    words = ["--training.teacher", str(tones_run), "--training.teacher_weight", "1", "--model.hidden_size", "6"]
    run = train(load_recipe(tones_recipe, [*words, "--training.num_train_epochs", "6"]), tmp_path / "run")
    assert run.metrics["test"]["accuracy"] == 1.0, "from the teacher alone, without a label"


def test_distills_from_a_recognizer_without_affecting_evaluation(
    beeps_recipe: Path, beeps_run: Path, tmp_path: Path
) -> None:
    words = ["--training.teacher", str(beeps_run), *FAST]
    taught = train(load_recipe(beeps_recipe, words), tmp_path / "run", splits=())
    assert taught.run_dir.is_dir()


def test_the_loss_is_zero_for_an_equal_student(tones_run: Path) -> None:
    teacher = load_model(tones_run)
    distillation = Distillation(teacher, teacher.feature_extractor, weight=0.25)
    inputs = {"input_features": torch.randn(3, 20, 16), "labels": torch.tensor([0, 1, 1])}
    logits = teacher.model(input_features=inputs["input_features"]).logits
    assert distillation(torch.tensor(4.0), logits, inputs).item() == pytest.approx(3.0, abs=1e-5)
    other = distillation(torch.tensor(4.0), logits.flip(-1), inputs)
    posteriors = logits.double().softmax(-1)
    expected = (posteriors * (posteriors.log() - posteriors.flip(-1).log())).sum(-1).mean()
    assert other.item() == pytest.approx(3.0 + 0.25 * expected.item(), rel=1e-4)
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())


def test_uses_the_normalization_of_the_teacher(global_run: Path) -> None:
    teacher = load_model(global_run)
    own = teacher.feature_extractor
    statistics = {"feature_mean": [value + 1 for value in own.feature_mean], "feature_std": [3.0] * 16}
    student = SimpleNamespace(normalization="global", normalize_variance=True, **statistics)
    raw = torch.randn(2, 5, 16) * 4
    theirs = (raw - torch.tensor(own.feature_mean)) / torch.tensor(own.feature_std)
    ours = (raw - torch.tensor(student.feature_mean)) / 3.0
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    found = Distillation(teacher, student, 0.5)._features({"input_features": ours, "attention_mask": mask})
    torch.testing.assert_close(found[0], theirs[0], atol=1e-4, rtol=1e-4)
    assert not found[1, 3:].any(), "padding is invisible"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--features.num_mel_bins", "12"], "other features.*num_mel_bins"),
        (["--features.normalization", "utterance"], "other features.*normalization"),
        (["--model.mixup_alpha", "0.2"], "mixup_alpha to 0"),
    ],
)
def test_rejects_teachers_of_another_kind(
    tones_recipe: Path, tones_run: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        train(load_recipe(tones_recipe, ["--training.teacher", str(tones_run), *words, *FAST]), tmp_path / "run")


def test_rejects_a_teacher_of_another_vocabulary_or_task(
    beeps_recipe: Path, beeps_run: Path, tones_recipe: Path, tones_run: Path, tmp_path: Path
) -> None:
    words = ["--text.vocabulary", "abcd", "--training.teacher", str(beeps_run), *FAST]
    with pytest.raises(RecipeError, match="they must be the same"):
        train(load_recipe(beeps_recipe, words), tmp_path / "run")
    for recipe, teacher in ((beeps_recipe, tones_run), (tones_recipe, beeps_run)):
        with pytest.raises(RecipeError, match=r"is a model for .*, not for "):
            train(load_recipe(recipe, ["--training.teacher", str(teacher), *FAST]), tmp_path / "run")
    other_frames = ["--model.subsampling", "2", "--training.teacher", str(beeps_run), *FAST]
    with pytest.raises(RecipeError, match="frames of 1,000"):
        train(load_recipe(beeps_recipe, other_frames), tmp_path / "run")
    with pytest.raises(HFSpeechError, match="There is no folder"):
        train(load_recipe(beeps_recipe, ["--training.teacher", str(tmp_path / "none"), *FAST]), tmp_path / "run")
