"""Creates the Trainer of a recipe, with its callbacks in the required order."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm
from transformers import EarlyStoppingCallback, EvalPrediction, ProgressCallback, TrainerCallback
from transformers.integrations import TensorBoardCallback
from transformers.trainer_utils import has_length

from hf_speech.common.text import counted, plural
from hf_speech.data.dataset import SpeechCollator
from hf_speech.data.stream import SpeechStream
from hf_speech.errors import RecipeError
from hf_speech.training.averaging import WeightAveraging
from hf_speech.training.checkpoints import CheckpointDigests
from hf_speech.training.distillation import ProjectionFiles, StateDistillation
from hf_speech.training.freezing import Freezing
from hf_speech.training.guard import NonFiniteGuard
from hf_speech.training.monitoring import GradientHistograms
from hf_speech.training.options import TrainingOptions
from hf_speech.training.preemption import Preemption
from hf_speech.training.preparation import Parts
from hf_speech.training.processes import process_state
from hf_speech.training.profile import Profile
from hf_speech.training.progress import ProgressReporter
from hf_speech.training.recipe import Recipe
from hf_speech.training.trainer import SpeechTrainer

# A stream has no epochs, so it is evaluated after this fraction of all steps.
EVALUATIONS_OF_A_STREAM = 0.05
# Small models learn little in fewer steps.
FEW_STEPS = 200


def make_trainer(
    recipe: Recipe,
    parts: Parts,
    collator: SpeechCollator,
    run_dir: Path,
    checkpoint: str | None,
    preemption: Preemption,
    callbacks: Sequence[TrainerCallback],
) -> SpeechTrainer:
    """Creates the Trainer.

    Args:
        recipe: The resolved recipe.
        parts: The objects of the recipe.
        collator: The collator of utterances.
        run_dir: The run folder.
        checkpoint: The checkpoint that training resumes from.
        preemption: The handler of signals.
        callbacks: Further callbacks.

    Raises:
        RecipeError: If transformers rejects the options.
    """
    options, task, validation = recipe.training, recipe.task, parts.datasets.get("validation")
    if options.eval_steps is None and isinstance(parts.datasets["train"], SpeechStream):
        options = dataclasses.replace(options, eval_steps=EVALUATIONS_OF_A_STREAM)
    arguments = options.training_arguments(
        run_dir, task.best_metric, task.greater_is_better, validates=validation is not None
    )

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        lines = task.sample_lines(prediction, parts.tokenizer)
        if lines and process_state().is_main_process:
            tqdm.write("\n".join(lines))
        return task.compute_metrics(prediction, parts.tokenizer)

    trainer = SpeechTrainer(
        model=parts.model,
        args=arguments,
        group_by_length=options.group_by_length,
        max_batch_seconds=options.max_batch_seconds,
        freezing=Freezing(parts.model, options.freeze, options.unfreeze_every) if options.freeze else None,
        layerwise_decay=options.layerwise_learning_rate_decay,
        profile=Profile(options.dataloader_num_workers) if options.profile else None,
        distillation=parts.distillation,
        data_collator=collator,
        train_dataset=parts.datasets["train"],
        eval_dataset=validation,
        processing_class=parts.extractor,
        compute_metrics=compute_metrics if options.learns_labels else None,
        preprocess_logits_for_metrics=task.preprocess_logits_for_metrics,
    )
    _set_epochs(trainer, options.min_steps)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(ProgressReporter(str(arguments.metric_for_best_model).removeprefix("eval_")))
    trainer.add_callback(preemption)
    if isinstance(parts.distillation, StateDistillation):  # Before weight averaging copies the weights.
        trainer.add_callback(ProjectionFiles(parts.distillation.projection, checkpoint))
    for callback in _optional_callbacks(options, trainer, run_dir, checkpoint):
        trainer.add_callback(callback)
    for callback in (*callbacks, CheckpointDigests(), preemption.stop_when_saved):
        trainer.add_callback(callback)
    return trainer


def _set_epochs(trainer: SpeechTrainer, min_steps: int) -> None:
    """Raises the number of epochs to reach `min_steps`, and prints a warning if there are few steps."""
    arguments = trainer.args
    if arguments.max_steps > 0 or not has_length(trainer.train_dataset):
        return
    batches = len(trainer.get_train_dataloader())
    per_epoch = max(math.ceil(batches / arguments.gradient_accumulation_steps), 1)
    if per_epoch * arguments.num_train_epochs < min_steps:
        arguments.num_train_epochs = math.ceil(min_steps / per_epoch)
    steps = math.ceil(per_epoch * arguments.num_train_epochs)
    if process_state().is_main_process:
        epochs = arguments.num_train_epochs
        print(f"{epochs:g} {plural(epochs, 'epoch')} of {counted(per_epoch, 'step')}.")
        if steps < FEW_STEPS:
            print(
                f"  warning: only {counted(steps, 'step')}: raise training.num_train_epochs or training.min_steps, or "
                "lower training.per_device_train_batch_size."
            )


def _optional_callbacks(
    options: TrainingOptions, trainer: SpeechTrainer, run_dir: Path, checkpoint: str | None
) -> Iterator[TrainerCallback]:
    if options.early_stopping_patience is not None:
        yield EarlyStoppingCallback(options.early_stopping_patience)
    yield NonFiniteGuard(run_dir, options.nonfinite_loss, trainer.pop_files)
    if options.weight_averaging:
        yield WeightAveraging(options.weight_averaging, checkpoint)
    if process_state().is_main_process and (writer := _tensorboard_writer(options.report_to, run_dir)) is not None:
        yield TensorBoardCallback(writer)
        if options.gradient_histograms:
            yield GradientHistograms(writer)


def _tensorboard_writer(report_to: str, run_dir: Path) -> Any:
    """Returns a TensorBoard writer for the run folder; None if disabled or, with "auto", not installed."""
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
