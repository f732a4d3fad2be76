"""From a recipe to a run folder: the whole main job in the order in which it happens.

What could go wrong after hours is tried in the first seconds: the corpus is read in full, the sections of the recipe
are fitted together, and the run folder is claimed before the first step. The run folder is itself the model folder:
`runs/NAME/` holds weights, configuration, feature extractor and the code that travels, and beside them the recipe as
resolved, the evaluation, the curves and the logs.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tqdm.auto import tqdm
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    ProgressCallback,
    TrainerCallback,
    set_seed,
)
from transformers.integrations import TensorBoardCallback
from transformers.utils import logging

from hf_speech.common.plots import plot_training_curves
from hf_speech.data.dataset import SpeechCollator
from hf_speech.data.inspection import InspectionReport
from hf_speech.data.stream import SpeechStream
from hf_speech.errors import RecipeError, TrainingError
from hf_speech.evaluation import evaluate_model
from hf_speech.evaluation.provenance import machine, versions
from hf_speech.inference import LoadedModel
from hf_speech.inference.decoders import LEXICON
from hf_speech.training.averaging import WEIGHTS_FILE, WeightAveraging
from hf_speech.training.checkpoints import disk_is_full, find_checkpoint
from hf_speech.training.guard import NonFiniteGuard
from hf_speech.training.monitoring import GradientHistograms, Stopwatch
from hf_speech.training.options import TrainingOptions, computes_bfloat16
from hf_speech.training.preparation import Parts, prepare, process_state
from hf_speech.training.profile import Profile
from hf_speech.training.recipe import Recipe
from hf_speech.training.trainer import ProgressReporter, SpeechTrainer

# A stream has no epochs to evaluate after: share of all steps between two evaluations.
EVALUATIONS_OF_A_STREAM = 0.05


@dataclass
class TrainingResult:
    """What a training left behind.

    Attributes:
        run_dir: The run folder, which is also the model folder.
        metrics: The metrics of each evaluated split, `{"test": {"accuracy": 0.99, ...}}`.
        num_parameters: Trainable parameters of the model.
        seconds: Wall-clock time of the training itself, that of the runs it continued included.
    """

    run_dir: Path
    num_parameters: int
    seconds: float
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)


def train(
    recipe: Recipe,
    output_dir: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    command: str = "hf_speech.train(recipe)",
    splits: Sequence[str] = ("validation", "test"),
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingResult:
    """Trains, evaluates and saves what a recipe describes.

    Args:
        recipe: A resolved recipe, from `load_recipe`.
        output_dir: The run folder; `runs/NAME` by default.
        resume: Continue from the last checkpoint in the run folder.
        overwrite: Replace a run folder that exists.
        command: The command to be named as the origin of the figures.
        splits: Which splits to evaluate in the end; whoever compares many trainings to choose one leaves the test out.
        callbacks: Further callbacks for the Trainer.

    Returns:
        Where the model lies and how good it is.

    Raises:
        HFSpeechError: On whatever is wrong with recipe, corpus or run folder, before training starts.
    """
    state = process_state()
    options = recipe.training
    run_dir = Path(output_dir) if output_dir is not None else Path("runs") / recipe.name
    checkpoint = _find_checkpoint(run_dir, options) if resume else None
    if not resume:
        _check_free(run_dir, overwrite)
    if state.device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(options.cpu_threads)
    set_seed(options.seed)
    logging.disable_progress_bar()  # transformers would draw a bar for each checkpoint it writes.

    parts, report = prepare(recipe, state)
    state.wait_for_everyone()
    if state.is_main_process:
        print(report)
        # Only now, when nothing of the recipe can be wrong any more, does an old run make way.
        if not resume and run_dir.exists():
            shutil.rmtree(run_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
        _write_json(run_dir / "inspection.json", report.to_dict())
        if options.bf16 and not computes_bfloat16():
            print("This CPU has no instructions for bfloat16: it computes in float32.")
        print(f"Training {recipe.name}: {parts.model.num_parameters():,} parameters on {state.device}, into {run_dir}")
    state.wait_for_everyone()
    trainer = _make_trainer(recipe, parts, run_dir, checkpoint)
    stopwatch = Stopwatch(checkpoint)
    for callback in (stopwatch, *callbacks):
        trainer.add_callback(callback)

    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    except (OSError, RuntimeError, SafetensorError) as error:
        if disk_is_full(error, run_dir):
            raise TrainingError(f"The disk of {run_dir} is full: make room, then go on with --resume.") from error
        raise
    result = TrainingResult(run_dir, parts.model.num_parameters(), stopwatch.seconds)
    if state.is_main_process:
        parts.model = trainer.accelerator.unwrap_model(trainer.model)
        made_by = {"command": command, "machine": machine(state.device), "versions": versions()}
        history = {"seconds": result.seconds, **made_by, "log": trainer.state.log_history}
        if trainer.left_out.count:
            left_out = trainer.left_out
            print(f"{left_out.count:,} utterances of the stream were left out, such as: {left_out.examples[0]}")
        if trainer.profile is not None:
            print(trainer.profile)
            history["profile"] = trainer.profile.to_dict()
        _save(recipe, parts, run_dir, history)
        result.metrics = _evaluate(recipe, parts, run_dir, command, splits, report)
    state.wait_for_everyone()
    return result


def _make_trainer(recipe: Recipe, parts: Parts, run_dir: Path, checkpoint: str | None) -> SpeechTrainer:
    """The Trainer with the callbacks that the recipe asks for."""
    state, options, task = process_state(), recipe.training, recipe.task
    if options.eval_steps is None and isinstance(parts.datasets["train"], SpeechStream):
        options = dataclasses.replace(options, eval_steps=EVALUATIONS_OF_A_STREAM)
    validation = parts.datasets.get("validation")
    arguments = options.training_arguments(
        run_dir, task.best_metric, task.greater_is_better, validates=validation is not None
    )

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        lines = task.sample_lines(prediction, parts.tokenizer)
        if lines and state.is_main_process:
            tqdm.write("\n".join(lines))
        return task.compute_metrics(prediction, parts.tokenizer)

    trainer = SpeechTrainer(
        model=parts.model,
        args=arguments,
        group_by_length=options.group_by_length,
        max_batch_seconds=options.max_batch_seconds,
        profile=Profile(options.dataloader_num_workers) if options.profile else None,
        data_collator=SpeechCollator(parts.extractor, task.collate_targets),
        train_dataset=parts.datasets["train"],
        eval_dataset=validation,
        processing_class=parts.extractor,
        compute_metrics=compute_metrics,
        preprocess_logits_for_metrics=task.preprocess_logits_for_metrics,
    )
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(ProgressReporter(str(arguments.metric_for_best_model).removeprefix("eval_")))
    if options.early_stopping_patience is not None:
        trainer.add_callback(EarlyStoppingCallback(options.early_stopping_patience))
    trainer.add_callback(NonFiniteGuard(run_dir, options.nonfinite_loss, trainer.take_files))
    if options.weight_averaging:
        trainer.add_callback(WeightAveraging(options.weight_averaging, checkpoint))
    if state.is_main_process and (writer := _tensorboard_writer(options.report_to, run_dir)) is not None:
        trainer.add_callback(TensorBoardCallback(writer))
        if options.gradient_histograms:
            trainer.add_callback(GradientHistograms(writer))
    return trainer


def _save(recipe: Recipe, parts: Parts, run_dir: Path, history: dict[str, Any]) -> None:
    """Writes the model folder, and how training went."""
    parts.model.save_pretrained(run_dir)
    parts.extractor.save_pretrained(run_dir)
    if parts.tokenizer is not None:
        parts.tokenizer.save_pretrained(run_dir)
    if parts.lexicon is not None:
        parts.lexicon.save(run_dir / LEXICON)
    _write_json(run_dir / "training.json", history)
    task, chosen_by = recipe.task, str(recipe.training.metric_for_best_model).removeprefix("eval_")
    metric = chosen_by if chosen_by in task.metrics else task.best_metric
    plot_training_curves(history["log"], run_dir / "curves.png", metric, task.greater_is_better)


def _evaluate(
    recipe: Recipe, parts: Parts, run_dir: Path, command: str, splits: Sequence[str], inspection: InspectionReport
) -> dict[str, dict[str, float]]:
    """Evaluates the model on splits that have utterances, and gives the metrics of each."""
    loaded = LoadedModel(parts.model.eval(), parts.extractor, recipe.task, str(run_dir), parts.tokenizer)
    metrics: dict[str, dict[str, float]] = {}
    for split in splits:
        if len(rows := parts.corpus.get(split, ())):
            left_out = list(inspection.splits[split].bad.values())
            report = evaluate_model(
                loaded, rows, corpus=recipe.corpus.name, split=split, command=command, left_out=left_out
            )
            report.save(run_dir / "evaluation" / f"{split}.json")
            metrics[split] = report.metrics
    return metrics


def _tensorboard_writer(report_to: str, run_dir: Path) -> Any:
    """A TensorBoard writer into the run folder, or `None` where it is not wanted or, with "auto", not installed."""
    if report_to not in ("auto", "tensorboard"):
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        if report_to == "auto":
            return None
        raise RecipeError(
            "training.report_to is tensorboard, which is not installed: pip install 'hf_speech[tensorboard]'."
        ) from error
    return SummaryWriter(str(run_dir / "logs"))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _find_checkpoint(run_dir: Path, options: TrainingOptions) -> str:
    """The checkpoint to continue from; says which newer ones are not whole."""
    found = find_checkpoint(run_dir, also=[WEIGHTS_FILE] if options.weight_averaging else [])
    if process_state().is_main_process:
        for reason in found.skipped:
            print(f"{reason}: it is skipped.")
        print(f"Resuming from {found.folder}.")
    return str(found.folder)


def _check_free(run_dir: Path, overwrite: bool) -> None:
    """Refuses a run folder that is in use, or that is not one of ours to replace."""
    if not run_dir.exists() or (run_dir.is_dir() and not any(run_dir.iterdir())):
        return
    if not overwrite:
        raise RecipeError(
            f"{run_dir} exists: pass --resume to continue it, --overwrite to replace it, or --name for another."
        )
    if not (run_dir / "recipe.yaml").is_file():
        raise RecipeError(f"{run_dir} is no run folder (it has no recipe.yaml), so it is not overwritten.")


__all__ = ["TrainingResult", "train"]
