from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hf_speech.errors import RecipeError
from hf_speech.training import load_recipe
from hf_speech.training import options as training_options
from hf_speech.training.options import TrainingOptions, computes_bfloat16
from hf_speech.training.preparation import prepare


@pytest.mark.parametrize("able", [True, False])
def test_uses_bfloat16_only_if_supported(able: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(training_options, "computes_bfloat16", lambda: able)
    assert TrainingOptions(bf16=True).training_arguments(tmp_path, "wer", False).bf16 is able
    assert TrainingOptions(bf16=False).training_arguments(tmp_path, "wer", False).bf16 is False


@pytest.mark.skipif(not hasattr(torch.cpu, "get_capabilities"), reason="torch 2.11 does not list what a CPU can do")
@pytest.mark.parametrize(("instruction", "able"), [("avx512_bf16", True), ("amx_bf16", True), ("avx512_fp16", False)])
def test_cpu_instructions_determine_bfloat16(instruction: str, able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": False, instruction: True})
    assert computes_bfloat16() is able


@pytest.mark.parametrize("metric", ["loss", "eval_loss"])
def test_a_lower_loss_is_better(metric: str, tmp_path: Path) -> None:
    options = TrainingOptions(metric_for_best_model=metric)
    assert options.training_arguments(tmp_path, "accuracy", greater_is_better=True).greater_is_better is False
    options = TrainingOptions(metric_for_best_model="eval_f1_micro")
    assert options.training_arguments(tmp_path, "accuracy", greater_is_better=True).greater_is_better is True


def test_rejects_an_unknown_metric_before_training() -> None:
    TrainingOptions(metric_for_best_model="eval_cer").check_metric(["wer", "cer"])
    with pytest.raises(RecipeError, match=r"no metric 'acuracy' .*did you mean 'accuracy'"):
        load_recipe("digits", ["--training.metric_for_best_model", "acuracy"])


def test_a_model_is_not_selected_by_labels_that_are_not_learned() -> None:
    teacher: dict[str, Any] = {"model": "openai/whisper-tiny.en", "weight": 1}
    with pytest.raises(RecipeError, match=r"load_best_model_at_end compares metrics .*: set it to false"):
        TrainingOptions(teacher=teacher).check_teacher()
    last = {"teacher": teacher, "load_best_model_at_end": False}
    with pytest.raises(RecipeError, match=r"early_stopping_patience compares metrics .*: set it to null"):
        TrainingOptions(early_stopping_patience=2, **last).check_teacher()
    TrainingOptions(**last).check_teacher()
    TrainingOptions(teacher=teacher | {"weight": 0.5}).check_teacher()


def test_the_teacher_is_checked_before_the_corpus_is_read(tones_recipe: Path) -> None:
    teacher = "{model: openai/whisper-tiny.en, weight: 1}"
    recipe = load_recipe(tones_recipe, ["--training.teacher", teacher, "--training.load_best_model_at_end", "true"])
    with pytest.raises(RecipeError, match="load_best_model_at_end"):
        prepare(recipe)
