"""The recipe section `training`: options of transformers' Trainer with defaults for small recurrent models."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from hf_speech.common.ranges import Range, Seed, Share, check_ranges
from hf_speech.errors import RecipeError, nearest

if TYPE_CHECKING:  # The command-line help lists these options without importing transformers.
    from transformers import TrainingArguments


@dataclass(frozen=True)
class EncoderTeacher:
    """A teacher whose encoder states the new model learns to predict: `training.teacher` as a mapping.

    Args:
        model: Folder or Hub id (`owner/name`, `owner/name@revision`) of a Whisper, wav2vec 2.0, HuBERT or WavLM model.
        layers: Layers of the teacher's encoder, numbered from 1 (0 is the input of the first layer); null for the last.
        weight: Weight of the teacher's loss; the labels get the rest. With 1, the labels are not learned, and the model
            is evaluated by the teacher's loss.
        student_layer: The recurrent layer that predicts the states, numbered from 1 (0 is the front end); null for the
            last.
        mean_weight: Weight, within the teacher's loss, of the mean state of each clip; the single states get the rest.
        cache: Whether the states are computed once and cached on disk, rather than at every step.
    """

    model: str
    layers: list[int] | None = None
    weight: Share = 0.5
    student_layer: int | None = None
    mean_weight: Share = 0.0
    cache: bool = True

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> EncoderTeacher:
        """Parses the mapping of a recipe.

        Raises:
            RecipeError: If it has an unknown key or a wrong value.
        """
        from jsonargparse import ArgumentError, ArgumentParser

        names = [field.name for field in dataclasses.fields(cls)]
        if unknown := [str(key) for key in values if key not in names]:
            raise RecipeError(f"training.teacher has an unknown key {unknown[0]!r}: {nearest(unknown[0], names)}")
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(cls)
        try:
            teacher = cls(**vars(parser.parse_object(dict(values))))
        except (ArgumentError, TypeError, ValueError) as error:
            raise RecipeError(f"training.teacher cannot be used: {' '.join(str(error).split())}") from error
        if teacher.layers == []:
            raise RecipeError("training.teacher.layers is empty: list at least one layer, or set it to null.")
        check_ranges(teacher, "training.teacher")
        if teacher.mean_weight and not teacher.cache:
            raise RecipeError(
                "training.teacher.mean_weight needs the states of all recordings: set training.teacher.cache to true."
            )
        return teacher


@dataclass
class TrainingOptions:
    """Training options. Names and meanings are those of `transformers.TrainingArguments` unless marked *own*.

    Args:
        num_train_epochs: Number of passes over the training split.
        max_steps: If positive, the number of optimizer steps, which overrides num_train_epochs.
        min_steps: Own: minimum number of optimizer steps; for a small training split, num_train_epochs is raised to
            reach it. 0 for none.
        per_device_train_batch_size: Utterances per training batch on each device.
        per_device_eval_batch_size: Utterances per evaluation batch on each device.
        eval_steps: Steps between evaluations and checkpoints; below 1, a fraction of all steps; null for the end of
            each epoch (for a stream, which has no epochs, a twentieth of all steps).
        gradient_accumulation_steps: Batches per optimizer step.
        learning_rate: Peak learning rate of AdamW.
        lr_scheduler_type: Schedule of the learning rate after the warm-up.
        warmup_steps: Steps of linear warm-up; below 1, a fraction of all steps.
        weight_decay: Decoupled weight decay.
        max_grad_norm: Norm that gradients are clipped to.
        freeze: Own: parts of the model that are not trained: "frontend", "encoder" (the recurrent layers) or both.
        unfreeze_every: Own: number of epochs after which the topmost frozen layer is unfrozen, the front end last; null
            for never.
        layerwise_learning_rate_decay: Own: ratio of the learning rate of a layer to that of the layer above it, from
            the head down.
        seed: Seed of weights, order, dropout and augmentation.
        bf16: Whether to compute in bfloat16 on GPUs and on CPUs with bfloat16 instructions. Other CPUs use float32,
            because bfloat16 would take ten times as long.
        group_by_length: Own: whether batches contain utterances of similar length, to reduce padding.
        max_batch_seconds: Own: seconds of audio per training batch on each device, including padding but before
            augmentation, instead of per_device_train_batch_size; null for a number of utterances.
        nonfinite_loss: Own: what to do if a loss or its gradients are NaN or infinite: "stop" training, or "skip" the
            step. In both cases, nonfinite.json lists the utterances.
        early_stopping_patience: Own: evaluations without a better metric after which training stops, or null.
        load_best_model_at_end: Whether to keep the model of the best evaluation rather than the last one.
        metric_for_best_model: The validation metric that selects the best model; null for the task's own.
        weight_averaging: Own: decay of an exponential moving average of the weights, which is evaluated and saved
            instead of the weights (Polyak & Juditsky 1992); 0 for none, 0.999 is usual.
        teacher: Own: a model folder or Hub id with the same outputs and features, whose posteriors are learned in
            addition to the labels; or a mapping with the keys model, layers, weight, student_layer and cache, for a
            model such as Whisper whose encoder states are learned (docs/labeling.md); null for none.
        teacher_weight: Own: weight of the teacher's loss, unless teacher is a mapping.
        logging_steps: Steps between log entries.
        save_total_limit: Number of checkpoints to keep.
        dataloader_num_workers: Number of processes that read, augment and compute features.
        cache_features: Own: whether features are computed once and cached on disk, for this training and later ones.
            With augmentation, augmentation.variants sets the number of cached variants.
        cpu_threads: Own: OpenMP threads of a training process on a CPU. One is the fastest for small recurrent models,
            because their many small operations cost less than synchronizing threads.
        report_to: "tensorboard" or "trackio" (which must be installed), "none", or "auto": TensorBoard if installed.
        gradient_histograms: Own: whether to write histograms of each parameter's gradients to TensorBoard every epoch.
        profile: Own: whether to measure the time of each part of training (reading, augmentation and features in the
            loader, waiting for the loader, steps), print it and write it to training.json.
        trainer_options: Own: any further `TrainingArguments`, by name.
    """

    num_train_epochs: Annotated[float, Range(above=0, at_most=10**9)] = 30
    max_steps: Annotated[int, Range(-1, 10**9)] = -1
    min_steps: Annotated[int, Range(0, 10**9)] = 0
    per_device_train_batch_size: Annotated[int, Range(1, 10**6)] = 32
    per_device_eval_batch_size: Annotated[int, Range(1, 10**6)] = 64
    eval_steps: Annotated[float, Range(above=0, at_most=10**9)] | None = None
    gradient_accumulation_steps: Annotated[int, Range(1, 10**6)] = 1
    learning_rate: Annotated[float, Range(0, 1000)] = 2e-3
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    warmup_steps: Annotated[float, Range(0, 10**9)] = 0.1
    weight_decay: Annotated[float, Range(0, 1000)] = 0.01
    max_grad_norm: Annotated[float, Range(0, 10**9)] = 1.0
    freeze: list[Literal["frontend", "encoder"]] = dataclasses.field(default_factory=list)
    unfreeze_every: Annotated[float, Range(above=0, at_most=10**9)] | None = None
    layerwise_learning_rate_decay: Annotated[float, Range(above=0, at_most=1)] = 1.0
    seed: Seed = 0
    bf16: bool = False
    group_by_length: bool = True
    max_batch_seconds: Annotated[float, Range(above=0, at_most=10**9)] | None = None
    nonfinite_loss: Literal["stop", "skip"] = "stop"
    early_stopping_patience: Annotated[int, Range(1, 10**9)] | None = None
    load_best_model_at_end: bool = True
    metric_for_best_model: str | None = None
    weight_averaging: Annotated[float, Range(0, below=1)] = 0.0
    teacher: dict[str, Any] | str | None = None
    teacher_weight: Share = 0.5
    logging_steps: Annotated[int, Range(1, 10**9)] = 10
    save_total_limit: Annotated[int, Range(1, 10**9)] = 2
    dataloader_num_workers: Annotated[int, Range(0, 128)] = 1
    cache_features: bool = False
    cpu_threads: Annotated[int, Range(1, 1024)] = 1
    report_to: Literal["auto", "tensorboard", "trackio", "none"] = "auto"
    gradient_histograms: bool = False
    profile: bool = False
    trainer_options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_ranges(self, "training")
        self.encoder_teacher()  # Raises an error for an invalid mapping.
        if self.gradient_histograms and self.report_to not in ("auto", "tensorboard"):
            raise RecipeError("training.gradient_histograms needs TensorBoard: set training.report_to to tensorboard.")
        if self.unfreeze_every is not None and not self.freeze:
            raise RecipeError("training.unfreeze_every has nothing to unfreeze: list parts in training.freeze.")
        for key in self.trainer_options:
            if key not in _trainer_options():
                raise RecipeError(
                    f"transformers' TrainingArguments have no {key!r} (training.trainer_options): "
                    f"{nearest(key, _trainer_options())}"
                )
        if "hub_token" in self.trainer_options:  # The recipe is written to the run folder.
            raise RecipeError(
                "A recipe must not contain a token (hub_token), because recipes are published: run hf auth login, or "
                "set HF_TOKEN."
            )

    def encoder_teacher(self) -> EncoderTeacher | None:
        """Returns the teacher if it is a mapping, else None."""
        return EncoderTeacher.parse(self.teacher) if isinstance(self.teacher, Mapping) else None

    @property
    def learns_labels(self) -> bool:
        """Whether the labels are learned, and not only the states of a teacher."""
        teacher = self.encoder_teacher()
        return teacher is None or teacher.weight < 1

    def check_metric(self, known: Sequence[str]) -> None:
        """Checks the metric for the best model.

        Raises:
            RecipeError: If `metric_for_best_model` is neither the loss nor one of `known`, or if it is a metric of
                labels that are not learned.
        """
        name = self.metric_for_best_model
        if name is None or name.removeprefix("eval_") == "loss":
            return
        if name.removeprefix("eval_") not in known:
            raise RecipeError(
                f"There is no metric {name!r} (training.metric_for_best_model): {nearest(name, {'loss', *known})}"
            )
        if not self.learns_labels:
            raise RecipeError(
                f"training.metric_for_best_model is {name!r}, a metric of the labels, which are not learned with "
                "training.teacher.weight 1: set it to loss."
            )

    def check_without_validation(self) -> None:
        """Checks the options for a corpus without a validation split.

        Raises:
            RecipeError: If an option needs a validation split.
        """
        options = (
            ("load_best_model_at_end", self.load_best_model_at_end, "false"),
            ("early_stopping_patience", self.early_stopping_patience is not None, "null"),
        )
        for key, is_on, off in options:
            if is_on:
                raise RecipeError(
                    f"training.{key} needs a validation split: set it to {off}, or add a validation split to the "
                    "corpus."
                )

    def training_arguments(
        self, run_dir: Path, metric: str, greater_is_better: bool, validates: bool = True
    ) -> TrainingArguments:
        """Creates transformers' arguments: evaluate and save together, with checkpoints in the run folder.

        Args:
            run_dir: The run folder.
            metric: The metric for the best model if the recipe sets none and labels are learned; otherwise the loss.
            greater_is_better: Whether higher values of `metric` are better.
            validates: Whether there is a validation split.

        Raises:
            RecipeError: If transformers rejects an option.
        """
        import torch
        from transformers import TrainingArguments

        values = {name: value for name, value in vars(self).items() if name in _trainer_options()}
        metric = self.metric_for_best_model or (metric if self.learns_labels else "loss")
        values["metric_for_best_model"] = metric.removeprefix("eval_")
        values["greater_is_better"] = greater_is_better and values["metric_for_best_model"] != "loss"
        strategy = "epoch" if self.eval_steps is None else "steps"
        if self.eval_steps is not None:
            values["save_steps"] = self.eval_steps
        values |= {
            "output_dir": str(run_dir / "checkpoints"),
            "eval_strategy": strategy if validates else "no",
            "save_strategy": strategy,
            # Rows have more columns than the model has arguments, such as lengths and file names.
            "remove_unused_columns": False,
            "label_names": ["labels"],
            # Every step uses all parameters.
            "ddp_find_unused_parameters": False,
            "dataloader_pin_memory": torch.cuda.is_available(),
            "disable_tqdm": False,
            "bf16": self.bf16 and computes_bfloat16(),
            # Otherwise, transformers rejects bfloat16 on a CPU.
            "use_cpu": not torch.accelerator.is_available(),
            # Resumed training needs the state of early stopping.
            "restore_callback_states_from_checkpoint": self.early_stopping_patience is not None,
            # assembly.py adds TensorBoard's callback, to choose its folder.
            "report_to": "trackio" if self.report_to == "trackio" else "none",
        }
        for key, value in self.trainer_options.items():
            values[key] = "no" if value is False and key.endswith("_strategy") else value  # YAML reads no as false.
        try:
            arguments = TrainingArguments(**values)
            _try_optimizer(arguments)
        except (ImportError, TypeError, ValueError) as error:
            if isinstance(error, RecipeError):
                raise
            reason = " ".join(str(error).split())
            raise RecipeError(f"transformers rejects training.trainer_options: {reason}") from error
        return arguments


@functools.cache
def _trainer_options() -> frozenset[str]:
    """Returns the names of transformers' training arguments."""
    from transformers import TrainingArguments

    return frozenset(field.name for field in dataclasses.fields(TrainingArguments) if field.init)


def _try_optimizer(arguments: TrainingArguments) -> None:
    """Creates the optimizer and the schedule for one weight, to find errors before the corpus is prepared."""
    import torch
    from transformers import Trainer, get_scheduler

    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer_class, options = Trainer.get_optimizer_cls_and_kwargs(arguments)
    optimizer = optimizer_class([weight], **options)
    get_scheduler(arguments.lr_scheduler_type, optimizer, 1, 10, arguments.lr_scheduler_kwargs)


def computes_bfloat16() -> bool:
    """Returns whether this machine supports bfloat16: any accelerator, or a CPU with bfloat16 instructions."""
    import torch

    if torch.accelerator.is_available():
        return True
    if not hasattr(torch.cpu, "get_capabilities"):  # torch 2.11 lists fewer capabilities.
        return bool(torch.cpu._is_avx512_bf16_supported())
    return any(value for name, value in torch.cpu.get_capabilities().items() if name.endswith("bf16"))
