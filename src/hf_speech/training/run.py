"""From a recipe to a run folder: the whole main job in the order in which it happens.

What could go wrong after hours is tried in the first seconds: the corpus is read in full, the sections of the recipe
are fitted together, and the run folder is claimed before the first step. The run folder is itself the model folder:
`runs/NAME/` holds weights, configuration, feature extractor and the code that travels, and beside them the recipe as
resolved, the evaluation, the curves and the logs.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import DatasetDict
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from tqdm.auto import tqdm
from transformers import (
    CONFIG_MAPPING,
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    ProgressCallback,
    TrainerCallback,
    set_seed,
)
from transformers.integrations import TensorBoardCallback
from transformers.utils import logging

from hf_speech.data.audio import read_audio
from hf_speech.data.copies import multiply
from hf_speech.data.corpora import RowStream
from hf_speech.data.dataset import SpeechCollator, SpeechDataset
from hf_speech.data.inspection import InspectionReport, inspect_corpus
from hf_speech.data.stream import Admission, SpeechStream
from hf_speech.errors import RecipeError, TrainingError
from hf_speech.evaluation import LoadedModel, evaluate_model, plot_training_curves
from hf_speech.evaluation.provenance import machine, versions
from hf_speech.models import SpeechFeatureExtractor
from hf_speech.training.averaging import WEIGHTS_FILE, WeightAveraging
from hf_speech.training.checkpoints import disk_is_full, find_checkpoint
from hf_speech.training.guard import NonFiniteGuard
from hf_speech.training.monitoring import GradientHistograms, Stopwatch
from hf_speech.training.options import TrainingOptions, computes_bfloat16
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
        result.metrics = _evaluate(recipe, parts, run_dir, command, splits)
    state.wait_for_everyone()
    return result


def process_state() -> PartialState:
    """This process among those that were launched together; without accelerators they talk through gloo."""
    # Left to itself, accelerate takes processes without accelerators for strangers who each train alone.
    return PartialState(cpu=not torch.accelerator.is_available())


@dataclass
class Parts:
    """What a recipe is made into before training.

    Attributes:
        corpus: The inspected splits.
        extractor: The feature extractor, fitted where it has to be.
        tokenizer: What makes ids of text, for a task that has text.
        model: The model, with fresh weights at first.
        datasets: The training split (augmented; maybe a stream) and the validation split (as it is).
    """

    corpus: DatasetDict
    extractor: SpeechFeatureExtractor
    tokenizer: Any
    model: PreTrainedModel
    datasets: dict[str, SpeechDataset | SpeechStream]


def prepare(recipe: Recipe, state: PartialState | None = None) -> tuple[Parts, InspectionReport]:
    """Makes everything that training needs, and with it tries all that could go wrong.

    Args:
        recipe: A resolved recipe.
        state: This process among others.

    Returns:
        The parts, and what was found in the corpus.

    Raises:
        HFSpeechError: On whatever is wrong with recipe or corpus.
    """
    state = state or process_state()
    # The first process builds caches, the others find them.
    with state.main_process_first():
        corpus = recipe.corpus.load()
        recipe.task.check_columns(corpus)
        extractor = make_feature_extractor(recipe)
        corpus, report = inspect_corpus(corpus, recipe.corpus, extractor.sampling_rate)
    tokenizer = recipe.task.make_tokenizer(corpus, recipe.text)
    lexicon = recipe.task.load_lexicon(corpus, recipe.text, recipe.corpus.lexicon())
    model = make_model(recipe, extractor, corpus, tokenizer, lexicon)

    frames_of = functools.partial(_logit_frames, model, extractor)
    corpus = recipe.task.inspect_targets(
        corpus,
        report,
        bad_rows=recipe.corpus.bad_rows,
        frames_of=frames_of,
        tokenizer=tokenizer,
        options=recipe.text,
    )
    fit_feature_extractor(extractor, corpus)
    class_names = getattr(corpus["train"].features.get("label"), "names", None)
    stream: SpeechStream | None = None
    if (source := recipe.corpus.train_stream(class_names)) is not None:
        stream = make_stream(recipe, source, extractor.sampling_rate, state, frames_of, tokenizer, lexicon)
        report.warnings.append(
            f"Training reads the whole split train from the stream, of which these {len(corpus['train']):,} utterances "
            "are a sample."
        )
    datasets = make_datasets(recipe, extractor, corpus, tokenizer, lexicon, stream)
    return Parts(corpus, extractor, tokenizer, model, datasets), report


def _logit_frames(model: PreTrainedModel, extractor: SpeechFeatureExtractor, seconds: float) -> int:
    """The number of logit frames of so many seconds of sound."""
    return int(model.num_logit_frames(extractor.num_frames(round(seconds * extractor.sampling_rate))))


def _make_trainer(recipe: Recipe, parts: Parts, run_dir: Path, checkpoint: str | None) -> SpeechTrainer:
    """The Trainer with the callbacks that the recipe asks for."""
    state, options, task = process_state(), recipe.training, recipe.task
    if options.eval_steps is None and isinstance(parts.datasets["train"], SpeechStream):
        options = dataclasses.replace(options, eval_steps=EVALUATIONS_OF_A_STREAM)
    arguments = options.training_arguments(run_dir, task.best_metric, task.greater_is_better)

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
        eval_dataset=parts.datasets["validation"],
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
    _write_json(run_dir / "training.json", history)
    task = recipe.task
    plot_training_curves(history["log"], run_dir / "curves.png", task.best_metric, task.greater_is_better)


def _evaluate(
    recipe: Recipe, parts: Parts, run_dir: Path, command: str, splits: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Evaluates the model on splits that have utterances, and gives the metrics of each."""
    loaded = LoadedModel(parts.model.eval(), parts.extractor, recipe.task, str(run_dir), parts.tokenizer)
    metrics: dict[str, dict[str, float]] = {}
    for split in splits:
        if len(rows := parts.corpus.get(split, ())):
            report = evaluate_model(loaded, rows, corpus=recipe.corpus.name, split=split, command=command)
            report.save(run_dir / "evaluation" / f"{split}.json")
            metrics[split] = report.metrics
    return metrics


def make_feature_extractor(recipe: Recipe) -> SpeechFeatureExtractor:
    """Makes the recipe's feature extractor.

    Raises:
        RecipeError: If the extractor refuses the section's values.
    """
    try:
        return SpeechFeatureExtractor(**recipe.features)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"The recipe's section features: {error}") from error


def fit_feature_extractor(extractor: SpeechFeatureExtractor, corpus: DatasetDict) -> None:
    """Fits global statistics, where the extractor normalises by them, on the training split alone."""
    if extractor.normalization == "global":
        rows = corpus["train"]["audio"]
        extractor.fit_global_statistics(read_audio(audio, extractor.sampling_rate) for audio in rows)


def make_model(
    recipe: Recipe,
    extractor: SpeechFeatureExtractor,
    corpus: DatasetDict,
    tokenizer: Any = None,
    lexicon: Any = None,
) -> PreTrainedModel:
    """Makes the recipe's model with fresh weights, fitted to the extractor's features and the corpus's targets.

    Raises:
        RecipeError: If the configuration refuses the section's values.
    """
    config_class = CONFIG_MAPPING[recipe.model_type]
    derived = {"input_size": extractor.feature_size, "hop_length": extractor.hop_length}
    if lexicon is not None:
        if not recipe.model.get("intermediate_ctc_weight"):
            raise RecipeError(
                "text.lexicon teaches the middle layer alone: set model.intermediate_ctc_weight, say to 0.3."
            )
        derived["num_phones"] = lexicon.num_ids
    fitting = {name: value for name, value in derived.items() if name in inspect.signature(config_class).parameters}
    try:
        config = config_class(**recipe.model, **recipe.task.config_arguments(corpus, tokenizer), **fitting)
    except (StrictDataclassError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise RecipeError(f"The recipe's section model: {reason}") from error
    model: PreTrainedModel = recipe.task.auto_model_class.from_config(config)  # type: ignore[attr-defined]
    return model


def make_datasets(
    recipe: Recipe,
    extractor: SpeechFeatureExtractor,
    corpus: DatasetDict,
    tokenizer: Any = None,
    lexicon: Any = None,
    stream: SpeechStream | None = None,
) -> dict[str, SpeechDataset | SpeechStream]:
    """Makes the training split (with its copies, augmented; or a stream) and the validation split (as it is)."""
    if recipe.augmentation.joining and not recipe.task.can_join:
        raise RecipeError(
            f"Two utterances have no target together in {recipe.task.name}: set augmentation.joining to 0."
        )
    encode_target = functools.partial(recipe.task.encode_target, tokenizer=tokenizer)
    join_targets = functools.partial(recipe.task.join_targets, tokenizer=tokenizer)

    rows = {split: corpus[split] for split in ("train", "validation")}
    if (tempos := recipe.augmentation.tempo_copies) or recipe.augmentation.pitch_copies:
        pitches = recipe.augmentation.pitch_copies or [0.0]
        rows["train"] = multiply(rows["train"], extractor.sampling_rate, tempos or [1.0], pitches)
    datasets: dict[str, SpeechDataset | SpeechStream] = {}
    for split, augmentation in (("train", recipe.augmentation), ("validation", None)):
        if split == "train" and stream is not None:
            datasets[split] = stream
            continue
        datasets[split] = dataset = SpeechDataset(
            rows[split],
            extractor.sampling_rate,
            encode_target,
            augmentation,
            recipe.training.seed,
            encode_phones=(
                functools.partial(_encode_phones, recipe, lexicon) if lexicon is not None and split == "train" else None
            ),
            join_targets=join_targets,
        )
        if recipe.training.cache_features:
            dataset.cache_features(extractor, f"Computing the features of {split}")
        else:
            dataset.keep_decoded(f"Reading {split}")
    return datasets


def make_stream(
    recipe: Recipe,
    source: RowStream,
    sampling_rate: int,
    state: PartialState,
    frames_of: Callable[[float], int],
    tokenizer: Any = None,
    lexicon: Any = None,
) -> SpeechStream:
    """Makes this process's part of a training split that is read while training.

    Raises:
        RecipeError: If the recipe asks for what needs the whole split beforehand, or does not say when training ends.
    """
    options, corpus, augmentation = recipe.training, recipe.corpus, recipe.augmentation
    if options.max_steps <= 0:
        raise RecipeError("A stream has no last epoch: say after how many steps training ends, as training.max_steps.")
    for key, wanted in (
        ("augmentation.joining", augmentation.joining),
        ("augmentation.tempo_copies", augmentation.tempo_copies),
        ("augmentation.pitch_copies", augmentation.pitch_copies),
        ("training.cache_features", options.cache_features),
        ("training.max_batch_seconds", options.max_batch_seconds),
    ):
        if wanted:
            raise RecipeError(f"{key} needs all utterances beforehand, and a stream does not have them: leave it out.")
    task = recipe.task
    examine = functools.partial(task.examine_target, frames_of=frames_of, tokenizer=tokenizer, options=recipe.text)
    encode_phones = None if lexicon is None else functools.partial(_encode_phones, recipe, lexicon)
    return SpeechStream(
        source,
        sampling_rate,
        functools.partial(task.encode_target, tokenizer=tokenizer),
        Admission(corpus.min_duration, corpus.max_duration, corpus.bad_rows, examine),
        augmentation,
        options.seed,
        batch_size=options.per_device_train_batch_size,
        **({} if options.group_by_length else {"window": 1}),
        process=(state.process_index, state.num_processes),
        encode_phones=encode_phones,
    )


def _encode_phones(recipe: Recipe, lexicon: Any, row: Mapping[str, Any]) -> torch.Tensor:
    """The phone ids of a row's transcript."""
    phones: torch.Tensor = lexicon.encode(recipe.text.normalize(row[recipe.task.target_column]))
    return phones


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


__all__ = ["Parts", "TrainingResult", "prepare", "train"]
