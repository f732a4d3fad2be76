from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hf_speech.errors import RecipeError
from hf_speech.training import load_recipe
from hf_speech.training import options as training_options
from hf_speech.training.options import TrainingOptions, computes_bfloat16


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


@pytest.mark.parametrize(("weight", "selected_by"), [(1, "loss"), (0.5, "accuracy")])
def test_a_model_is_not_selected_by_labels_that_are_not_learned(
    weight: float, selected_by: str, tmp_path: Path
) -> None:
    options = TrainingOptions(teacher={"model": "openai/whisper-tiny.en", "weight": weight})
    assert options.learns_labels is (weight < 1)
    arguments = options.training_arguments(tmp_path, "accuracy", greater_is_better=True)
    assert arguments.metric_for_best_model == selected_by
    assert arguments.greater_is_better is (selected_by == "accuracy")


def test_rejects_a_metric_of_labels_that_are_not_learned() -> None:
    words = ["--training.metric_for_best_model", "accuracy", "--training.teacher"]
    load_recipe("emotion", [*words, "{model: openai/whisper-tiny.en, weight: 0.9}"])
    with pytest.raises(RecipeError, match=r"'accuracy', a metric of the labels, .*: set it to loss"):
        load_recipe("emotion", [*words, "{model: openai/whisper-tiny.en, weight: 1}"])
