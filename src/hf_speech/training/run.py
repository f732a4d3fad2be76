"""Trains a recipe: prepare, train, evaluate and save a run folder.

Everything that could fail is checked before the first step: the whole corpus is read, the sections of the recipe are
checked together, and the run folder is locked. The run folder is also the model folder: `runs/NAME/` contains weights,
configuration, feature extractor and remote code, and in addition the resolved recipe, evaluations, curves and logs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import TrainerCallback, set_seed
from transformers.utils import logging

from hf_speech.common.files import FileError, write_json
from hf_speech.common.plots import plot_training_curves
from hf_speech.data.dataset import SpeechCollator
from hf_speech.data.reports import Finding
from hf_speech.errors import RecipeError, TrainingError
from hf_speech.evaluation import evaluate_model
from hf_speech.evaluation.provenance import machine, versions
from hf_speech.inference import LoadedModel
from hf_speech.inference.decoders import LEXICON
from hf_speech.models import SpeechProcessor
from hf_speech.training import run_folder
from hf_speech.training.assembly import make_trainer
from hf_speech.training.averaging import WEIGHTS_FILE
from hf_speech.training.checkpoints import disk_is_full, find_checkpoint, list_checkpoints
from hf_speech.training.distillation import PROJECTION_FILE
from hf_speech.training.monitoring import Stopwatch
from hf_speech.training.options import computes_bfloat16
from hf_speech.training.preemption import Preemption
from hf_speech.training.preparation import Parts, prepare
from hf_speech.training.processes import on_main_process, process_state
from hf_speech.training.recipe import Recipe


@dataclass
class TrainingResult:
    """The result of training.

    Attributes:
        run_dir: The run folder, which is also the model folder.
        num_parameters: Number of parameters of the model.
        seconds: Wall-clock time of training, including interrupted runs.
        metrics: The metrics of each evaluated split, `{"test": {"accuracy": 0.99, ...}}`.
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
    """Trains, evaluates and saves the model of a recipe.

    Args:
        recipe: A resolved recipe, from `load_recipe`.
        output_dir: The run folder; `runs/NAME` by default.
        resume: Whether to continue from the last intact checkpoint in the run folder.
        overwrite: Whether to replace an existing run folder.
        command: The command line, to record in evaluation files.
        splits: Splits to evaluate at the end, if labels are learned; comparisons omit the test split.
        callbacks: Further callbacks for the Trainer.

    Returns:
        The run folder and the metrics.

    Raises:
        HFSpeechError: If something is wrong with the recipe, the corpus or the run folder, before training starts.
        PreemptedError: If SIGTERM or SIGUSR1 arrived; the last checkpoint has been written.
    """
    state = process_state()
    run_dir = Path(output_dir) if output_dir is not None else Path("runs") / recipe.name
    preemption = Preemption()
    with contextlib.ExitStack() as stack:
        stack.enter_context(preemption.listening())
        checkpoint = on_main_process(state, lambda: _claim(stack, run_dir, recipe, resume, overwrite))
        recipe.augmentation.check_folders()
        _prepare_process(recipe)
        recipe.training.training_arguments(run_dir, recipe.task.best_metric, recipe.task.greater_is_better)
        parts, report = prepare(recipe, state)
        state.wait_for_everyone()

        def begin() -> None:
            print(report)
            run_folder.begin(run_dir, recipe, report, checkpoint, parts.base)
            if parts.base is not None:
                print(f"Weights of {parts.base['name']}: {parts.base['taken']}.")
                print(f"New weights: {parts.base['new']}.")
            if recipe.training.bf16 and not computes_bfloat16():
                print("This CPU has no bfloat16 instructions: training computes in float32.")
            size = f"{parts.model.num_parameters():,} parameters"
            print(f"Training {recipe.name}: {size} on {state.device}, into {run_dir}", flush=True)

        on_main_process(state, begin)
        stopwatch = Stopwatch(checkpoint)
        collator = SpeechCollator(parts.extractor, recipe.task.collate_targets)
        trainer = make_trainer(recipe, parts, collator, run_dir, checkpoint, preemption, (stopwatch, *callbacks))
        with _full_disk_explained(run_dir):
            trainer.train(resume_from_checkpoint=checkpoint)
            result = TrainingResult(run_dir, parts.model.num_parameters(), stopwatch.seconds)
            if state.is_main_process:
                parts.model = trainer.accelerator.unwrap_model(trainer.model)
                history = {"task": recipe.task.name, "num_parameters": result.num_parameters}
                history |= {"seconds": result.seconds, "command": command, "machine": machine(state.device)}
                history |= {"versions": versions(), "log": trainer.state.log_history, **trainer.summary()}
                _save(recipe, parts, run_dir, history)
                left_out = {split: list(found.bad.values()) for split, found in report.splits.items()}
                if recipe.training.learns_labels:
                    _evaluate(recipe, parts, result, command, splits, left_out)
        state.wait_for_everyone()
    return result


def _claim(stack: contextlib.ExitStack, run_dir: Path, recipe: Recipe, resume: bool, overwrite: bool) -> str | None:
    """Locks the run folder and finds the checkpoint to resume from; only the first process calls it.

    Raises:
        HFSpeechError: If the folder is in use, is not a run folder, or has a run of another recipe.
    """
    written = run_dir / "recipe.yaml"
    base = recipe.warm_start.init_from
    if base is not None and Path(base).expanduser().resolve() == run_dir.resolve():
        raise RecipeError(f"{run_dir} contains the model to start from: choose another --name or --output_dir.")
    if resume and written.is_file():
        run_folder.check_same_recipe(recipe, written)
    elif not resume:
        run_folder.check_free(run_dir, overwrite)
    if resume and not run_dir.is_dir():
        find_checkpoint(run_dir)  # Raises an error before the folder is created.
    stack.enter_context(run_folder.locked(run_dir))
    if not resume:
        run_folder.check_free(run_dir, overwrite)  # Check again: another training may have run meanwhile.
        return None
    if written.is_file() and not list_checkpoints(run_dir):
        print(f"{run_dir} has no checkpoint yet: training starts from the beginning.")
        return None
    also = [WEIGHTS_FILE] if recipe.training.weight_averaging else []
    also += [PROJECTION_FILE] if recipe.training.encoder_teacher() is not None else []
    checkpoint, skipped = find_checkpoint(run_dir, also=also)
    for reason in skipped:
        print(f"{reason}: it is skipped.")
    print(f"Resuming from {checkpoint}.")
    return str(checkpoint)


def _prepare_process(recipe: Recipe) -> None:
    """Sets the threads and the seed of this process."""
    if process_state().device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(recipe.training.cpu_threads)
    set_seed(recipe.training.seed)
    logging.disable_progress_bar()  # transformers would draw a bar for each checkpoint.


@contextlib.contextmanager
def _full_disk_explained(run_dir: Path) -> Iterator[None]:
    """Turns the errors that libraries raise on a full disk into one sentence."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError, FileError) as error:
        cause = error.__cause__ if isinstance(error, FileError) else None
        if disk_is_full(cause or error, run_dir):
            raise TrainingError(f"The disk of {run_dir} is full: free space, then continue with --resume.") from error
        raise


def _save(recipe: Recipe, parts: Parts, run_dir: Path, history: dict[str, Any]) -> None:
    """Writes the model and the history of its training."""
    parts.model.save_pretrained(run_dir)
    tokenizer = parts.tokenizer
    processor = parts.extractor if tokenizer is None else SpeechProcessor(parts.extractor, tokenizer)
    processor.save_pretrained(run_dir)
    if parts.lexicon is not None:
        parts.lexicon.save(run_dir / LEXICON)
    write_json(run_dir / "training.json", history)
    task, chosen_by = recipe.task, str(recipe.training.metric_for_best_model).removeprefix("eval_")
    metric = chosen_by if chosen_by in task.metrics else task.best_metric
    unit = task.metrics[metric].unit
    plot_training_curves(history["log"], run_dir / "curves.png", metric, task.greater_is_better, unit=unit)
    run_folder.share(run_dir)


def _evaluate(
    recipe: Recipe,
    parts: Parts,
    result: TrainingResult,
    command: str,
    splits: Sequence[str],
    left_out: Mapping[str, Sequence[Finding]],
) -> None:
    """Evaluates the model on the non-empty splits, writes the reports, and adds their metrics to the result."""
    loaded = LoadedModel(parts.model.eval(), parts.extractor, recipe.task, str(result.run_dir), parts.tokenizer)
    for split in splits:
        if not len(rows := parts.corpus.get(split, ())):
            continue
        report = evaluate_model(
            loaded, rows, corpus=recipe.corpus.name, split=split, command=command, left_out=left_out[split]
        )
        report.save(result.run_dir / "evaluation" / f"{split}.json")
        result.metrics[split] = report.metrics
