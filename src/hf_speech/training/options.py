"""The recipe's `training` section: transformers' own names, with defaults that suit small recurrent models."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from hf_speech.common.ranges import Range, Seed, Share, check_ranges
from hf_speech.errors import RecipeError, nearest

if TYPE_CHECKING:  # The command line's help lists these options, and imports neither.
    from transformers import TrainingArguments


@dataclass(frozen=True)
class EncoderTeacher:
    """A teacher whose encoder's states the encoder of the new model learns to predict: `training.teacher` as a mapping.

    Args:
        model: Folder or Hub id (`owner/name`, `owner/name@revision`) of a Whisper, wav2vec 2.0, HuBERT or WavLM model.
        layers: Layers of its encoder, numbered from 1 (0 is the input of the first one); null for the last one.
        weight: The teacher's part of the loss; the labels have the rest. With 1, nothing is learned from the labels.
        student_layer: The recurrent layer that predicts them, numbered from 1 (0 is the front end); null for the last.
        cache: Whether the states are computed once and kept on disk, rather than at every step.
    """

    model: str
    layers: list[int] | None = None
    weight: Share = 0.5
    student_layer: int | None = None
    cache: bool = True

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> EncoderTeacher:
        """Reads the mapping of a recipe.

        Raises:
            RecipeError: On an unknown key or a wrong value.
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
            raise RecipeError("training.teacher.layers must list one layer or more, or be null for the last one.")
        check_ranges(teacher, "training.teacher")
        return teacher


@dataclass
class TrainingOptions:
    """How a model is trained; names and meanings are those of `transformers.TrainingArguments` unless marked *own*.

    Args:
        num_train_epochs: Passes over the training split.
        max_steps: If positive, the number of optimizer steps, whatever num_train_epochs says.
        min_steps: Own: optimizer steps for which num_train_epochs is raised where the training split is small; 0 for
            none.
        per_device_train_batch_size: Utterances in a training batch on each device.
        per_device_eval_batch_size: Utterances in an evaluation batch on each device.
        eval_steps: Steps between two evaluations, and checkpoints; below 1, a share of all steps; null for the end of
            each epoch (a stream has no epochs: a twentieth of all steps).
        gradient_accumulation_steps: Batches whose gradients make one optimizer step.
        learning_rate: Peak learning rate of AdamW.
        lr_scheduler_type: Course of the learning rate after the warm-up.
        warmup_steps: Steps of linear warm-up; below 1, their share of all steps.
        weight_decay: Decoupled weight decay.
        max_grad_norm: Norm to which gradients are clipped.
        freeze: Own: parts of the model that are not trained: "frontend", "encoder" (the recurrent layers) or both.
        unfreeze_every: Own: epochs after each of which the topmost frozen layer begins to be trained, the front end
            last; null for never.
        layerwise_learning_rate_decay: Own: what the learning rate is multiplied by from the head to the last recurrent
            layer, and from each layer to the one below it.
        seed: Seed of weights, order, dropout and augmentation.
        bf16: Whether to compute in bfloat16, on GPUs and on CPUs that have instructions for it. Other CPUs would take
            ten times as long, and compute in float32 instead.
        group_by_length: Own: whether a batch holds utterances of similar length, so that little is padding.
        max_batch_seconds: Own: seconds of sound in a training batch on each device, including padding but before
            augmentation, in place of per_device_train_batch_size; null for a number of utterances.
        nonfinite_loss: Own: what happens when a loss or its gradients are NaN or infinite: training stops and names the
            utterances ("stop"), or the step is left out ("skip"). In both cases nonfinite.json lists them.
        early_stopping_patience: Own: epochs without a better validation metric after which training stops, or null.
        load_best_model_at_end: Whether the model of the best epoch is kept rather than the last one.
        metric_for_best_model: The validation metric that decides, or null for the task's own.
        weight_averaging: Own: decay of an exponential moving average of the weights, which is then evaluated and saved
            (Polyak & Juditsky 1992); 0 for none, 0.999 is usual.
        teacher: Own: a model folder or Hub id with the same outputs and features, whose posteriors are learned beside
            the labels; or a mapping with the keys model, layers, weight, student_layer and cache, for a model such as
            Whisper, whose encoder the new one learns to predict (docs/labeling.md); null for none.
        teacher_weight: Own: that teacher's part of the loss, where it is not a mapping.
        logging_steps: Steps between two entries in the log.
        save_total_limit: Checkpoints kept on disk.
        dataloader_num_workers: Processes that decode, augment and compute features.
        cache_features: Own: whether features are computed once and kept on disk, for this training and later ones.
            Where the sound is augmented, augmentation.variants says how many variants of it are kept.
        cpu_threads: Own: OpenMP threads of a training process on a CPU. One is the fastest for small recurrent models,
            whose many small operations take less time than the threads need to wait for each other.
        report_to: "tensorboard" or "trackio" (which must be installed), "none", or "auto": TensorBoard if installed.
        gradient_histograms: Own: whether TensorBoard gets a histogram of each parameter's gradients every epoch.
        profile: Own: whether to measure where the time goes (reading, augmenting and computing features in the loader,
            waiting for it, and the steps themselves), print it and write it to training.json.
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
        self.encoder_teacher()  # Refuses what it cannot read.
        if self.gradient_histograms and self.report_to not in ("auto", "tensorboard"):
            raise RecipeError(
                "training.gradient_histograms are for TensorBoard: set training.report_to to tensorboard."
            )
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
                "A recipe must not hold a token (hub_token), as it is published: run hf auth login, or set HF_TOKEN."
            )

    def encoder_teacher(self) -> EncoderTeacher | None:
        """The teacher, if it is a mapping."""
        return EncoderTeacher.parse(self.teacher) if isinstance(self.teacher, Mapping) else None

    def check_metric(self, known: Sequence[str]) -> None:
        """Refuses a metric that the task does not measure.

        Raises:
            RecipeError: If `metric_for_best_model` is neither the loss nor one of `known`.
        """
        if (name := self.metric_for_best_model) and name.removeprefix("eval_") not in {"loss", *known}:
            raise RecipeError(
                f"There is no metric {name!r} (training.metric_for_best_model): {nearest(name, {'loss', *known})}"
            )

    def check_without_validation(self) -> None:
        """Refuses options that need a validation split, for a corpus without one.

        Raises:
            RecipeError: If the best epoch is to be chosen, or training to be stopped by it.
        """
        for key, without in (("load_best_model_at_end", False), ("early_stopping_patience", None)):
            if getattr(self, key) != without:
                raise RecipeError(
                    f"There is no validation split for training.{key} to decide by: set it to "
                    f"{'false' if without is False else 'null'}, or give the corpus such a split."
                )

    def training_arguments(
        self, run_dir: Path, metric: str, greater_is_better: bool, validates: bool = True
    ) -> TrainingArguments:
        """Makes transformers' arguments: evaluate and save together, checkpoints and logs inside the run folder.

        Args:
            run_dir: The run folder.
            metric: The metric that decides, where the recipe names none.
            greater_is_better: Whether it is the better the higher it is.
            validates: Whether there is a validation split to evaluate on while training.
        """
        import torch
        from transformers import TrainingArguments

        values = {name: value for name, value in vars(self).items() if name in _trainer_options()}
        values["metric_for_best_model"] = (self.metric_for_best_model or metric).removeprefix("eval_")
        values["greater_is_better"] = greater_is_better and values["metric_for_best_model"] != "loss"
        strategy = "epoch" if self.eval_steps is None else "steps"
        if self.eval_steps is not None:
            values["save_steps"] = self.eval_steps
        values |= {
            "output_dir": str(run_dir / "checkpoints"),
            "eval_strategy": strategy if validates else "no",
            "save_strategy": strategy,
            # Rows carry more than the model's arguments (their lengths, their names).
            "remove_unused_columns": False,
            "label_names": ["labels"],
            # Every parameter takes part in every step.
            "ddp_find_unused_parameters": False,
            "dataloader_pin_memory": torch.cuda.is_available(),
            "disable_tqdm": False,
            "bf16": self.bf16 and computes_bfloat16(),
            # Otherwise transformers refuses bfloat16 on a CPU.
            "use_cpu": not torch.accelerator.is_available(),
            # The patience of early stopping, which a resumed training needs.
            "restore_callback_states_from_checkpoint": self.early_stopping_patience is not None,
            # TensorBoard's callback is added in assembly.py, where its folder can be chosen.
            "report_to": "trackio" if self.report_to == "trackio" else "none",
        }
        try:
            arguments = TrainingArguments(**(values | self.trainer_options))
            _try_optimizer(arguments)
        except (ImportError, TypeError, ValueError) as error:
            if isinstance(error, RecipeError):
                raise
            reason = " ".join(str(error).split())
            raise RecipeError(f"transformers refuses training.trainer_options: {reason}") from error
        return arguments


@functools.cache
def _trainer_options() -> frozenset[str]:
    """The names of transformers' own options."""
    from transformers import TrainingArguments

    return frozenset(field.name for field in dataclasses.fields(TrainingArguments) if field.init)


def _try_optimizer(arguments: TrainingArguments) -> None:
    """Makes the optimizer and the schedule of one weight, which the Trainer would make after the corpus is prepared."""
    import torch
    from transformers import Trainer, get_scheduler

    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer_class, options = Trainer.get_optimizer_cls_and_kwargs(arguments)
    optimizer = optimizer_class([weight], **options)
    get_scheduler(arguments.lr_scheduler_type, optimizer, 1, 10, arguments.lr_scheduler_kwargs)


def computes_bfloat16() -> bool:
    """Whether this machine has bfloat16 arithmetic: any accelerator, or a CPU with instructions for it."""
    import torch

    if torch.accelerator.is_available():
        return True
    if not hasattr(torch.cpu, "get_capabilities"):  # torch 2.11 lists fewer capabilities.
        return bool(torch.cpu._is_avx512_bf16_supported())
    return any(there for name, there in torch.cpu.get_capabilities().items() if name.endswith("bf16"))
