"""transformers' Trainer, adapted to short utterances.

- Batches contain utterances of similar length, in random order, and evaluation keeps the order of the rows. The
  Trainer's own grouping by length sorts from long to short within parts of an epoch, and also reorders evaluation.
- Batches may contain a number of seconds, including padding, instead of a number of utterances.
- Augmentation and batches depend on the epoch, also when training resumes in the middle of one (`EpochBegin`).
- All processes evaluate the model of the first process.
- The best checkpoint is loaded only if it is intact.
- A signal to stop aborts an evaluation, which is repeated when training resumes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.data_loader import prepare_data_loader
from accelerate.utils import broadcast
from transformers import TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from hf_speech.common.text import counted, plural
from hf_speech.data.dataset import TRAINER_KEYS
from hf_speech.data.reports import Finding
from hf_speech.data.stream import SpeechStream
from hf_speech.errors import CorpusError, TrainingError
from hf_speech.training.checkpoints import checkpoint_folder, find_fault
from hf_speech.training.distillation import Distillation, StateDistillation
from hf_speech.training.freezing import Freezing, scale_learning_rates
from hf_speech.training.preemption import EvaluationInterrupted, shield_loader
from hf_speech.training.profile import Profile
from hf_speech.training.pushing import SnapshotPushes
from hf_speech.training.samplers import DurationBatchSampler, LengthBatchSampler


class SpeechTrainer(SnapshotPushes):
    """Trainer for a `SpeechDataset` or a `SpeechStream`.

    Attributes:
        left_out: The utterances of a stream that this process could not use.

    Args:
        group_by_length: Whether training batches contain utterances of similar length.
        max_batch_seconds: Seconds of audio per training batch of each process, including padding, instead of a number
            of utterances.
        profile: Profile of the training time, if any.
        distillation: Loss of a teacher, if any.
        freezing: Frozen parts of the model, if any.
        layerwise_decay: Ratio of the learning rates of neighboring levels of the model; see `freezing.py`.
        **kwargs: Arguments of `transformers.Trainer`.
    """

    def __init__(
        self,
        *,
        group_by_length: bool = True,
        max_batch_seconds: float | None = None,
        profile: Profile | None = None,
        distillation: Distillation | StateDistillation | None = None,
        freezing: Freezing | None = None,
        layerwise_decay: float = 1.0,
        **kwargs: Any,
    ) -> None:
        if isinstance(distillation, StateDistillation):
            distillation.attach(kwargs["model"])
        super().__init__(**kwargs)
        self.distillation = distillation
        self.freezing = freezing
        self.layerwise_decay = layerwise_decay
        self.profile = profile
        if profile is not None:
            self.add_callback(profile)
        self.group_by_length = group_by_length
        self.max_batch_seconds = max_batch_seconds
        self._sampler: LengthBatchSampler | DurationBatchSampler | None = None
        self._files: list[str] = []
        self.left_out = Finding()
        self.add_callback(EpochBegin(self.set_epoch))

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Computes the loss of a batch, and records its files during training."""
        files, left_out, seconds, sources = (inputs.pop(name, None) for name in TRAINER_KEYS)
        if files is not None and model.training:
            self._files += files
            for reason in left_out:
                self.left_out.add(reason)
            if self.profile is not None:
                self.profile.add_batch(seconds)
        if self.freezing is not None and model.training:
            self.freezing.before_forward(self.state.epoch or 0.0)
        distillation = self.distillation
        if distillation is None or not (model.training or distillation.evaluates):
            return super().compute_loss(model, inputs, *args, **kwargs)
        if isinstance(distillation, StateDistillation):
            inputs["output_hidden_states"] = True
        loss, outputs = super().compute_loss(model, inputs, *args, **(kwargs | {"return_outputs": True}))
        if isinstance(distillation, StateDistillation):
            split = "train" if model.training else "validation"
            loss = distillation(loss, outputs.hidden_states, inputs, sources, split)
        else:
            loss = distillation(loss, outputs.logits, inputs)
        return (loss, outputs) if kwargs.get("return_outputs") else loss

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Runs the forward and backward pass of a batch, without gradients of frozen parts."""
        loss = super().training_step(*args, **kwargs)
        if self.freezing is not None:
            self.freezing.after_backward(self.state.epoch or 0.0)
        return loss

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Creates the optimizer, with learning rates by depth if configured."""
        is_new = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if is_new and self.layerwise_decay < 1:
            scale_learning_rates(optimizer, model or self.model, self.layerwise_decay)
        return optimizer

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the batches of a step, and adds the waiting time to the profile."""
        start = time.perf_counter()
        try:
            batches = super().get_batch_samples(*args, **kwargs)
        except CorpusError as error:
            # The message of an error in a loader process contains its traceback.
            raise CorpusError(str(error).strip().rpartition(f"{CorpusError.__name__}: ")[2]) from error
        if self.profile is not None:
            self.profile.add_wait(time.perf_counter() - start)
        return batches

    def summary(self) -> dict[str, Any]:
        """Prints skipped utterances of a stream and the profile, and returns the profile for the run folder."""
        if self.left_out.count:
            example = self.left_out.examples[0]
            verb = plural(self.left_out.count, "was", "were")
            print(f"{counted(self.left_out.count, 'utterance')} of the stream {verb} left out, such as: {example}")
        if self.profile is None:
            return {}
        print(self.profile)
        return {"profile": self.profile.to_dict()}

    def pop_files(self) -> list[str]:
        """Returns the files of this process's utterances since the last call."""
        files, self._files = self._files, []
        return files

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int] | None:
        dataset = train_dataset if train_dataset is not None else self.train_dataset
        draw = getattr(dataset, "draw", None)
        if not hasattr(dataset, "durations") or (not self.group_by_length and draw is None):
            return super()._get_train_sampler(dataset)
        batch = self.args.train_batch_size * self.args.world_size
        seed = self.args.data_seed or self.args.seed
        mixed = {} if draw is None else {"draw": draw, "window": 20 if self.group_by_length else 1}
        self._sampler = LengthBatchSampler(dataset.durations, batch, seed, **mixed)
        return self._sampler

    def get_train_dataloader(self) -> torch.utils.data.DataLoader[Any]:
        """Returns the training loader, for batches of utterances, of seconds, or of a stream."""
        if isinstance(self.train_dataset, SpeechStream):
            return shield_loader(self._stream_loader(self.train_dataset))
        if self.max_batch_seconds is None:
            return shield_loader(super().get_train_dataloader())
        return shield_loader(self._duration_loader(self.max_batch_seconds))

    def get_eval_dataloader(self, *args: Any, **kwargs: Any) -> torch.utils.data.DataLoader[Any]:
        """Returns the evaluation loader."""
        return shield_loader(super().get_eval_dataloader(*args, **kwargs))

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluates the model of the first process in all processes, whose batch norm statistics differ."""
        if self.args.world_size > 1:
            for buffer in self.model.buffers():
                buffer.copy_(broadcast(buffer))
        metrics: dict[str, float] = super().evaluate(*args, **kwargs)
        return metrics

    def _evaluate(self, trial: Any, ignore_keys_for_eval: Any, skip_scheduler: bool = False) -> dict[str, float]:
        """Evaluates during training; an aborted evaluation writes a checkpoint in which the evaluation is due."""
        due = self.args.eval_on_start and self.state.global_step > 0 and skip_scheduler
        try:
            metrics: dict[str, float] = super()._evaluate(trial, ignore_keys_for_eval, skip_scheduler and not due)
        except EvaluationInterrupted:
            if not due:  # Otherwise, the checkpoint that training resumed from is up to date.
                self._save_checkpoint(self.model, trial)
            self.callback_handler.on_save(self.args, self.state, self.control)  # Ends the training.
            raise
        if due and self._determine_best_metric(metrics, trial):
            self.state.best_model_checkpoint = str(checkpoint_folder(self.args, self.state))
        return metrics

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Trains for an epoch, unless the first evaluation of resumed training has stopped it."""
        if not self.control.should_training_stop:
            super()._run_epoch(*args, **kwargs)

    def _load_best_model(self) -> None:
        """Loads the best checkpoint.

        Raises:
            TrainingError: If the checkpoint is damaged.
        """
        best = Path(str(self.state.best_model_checkpoint))
        if (fault := find_fault(best)) is not None:
            raise TrainingError(
                f"The best checkpoint {best} is damaged ({fault}): add --resume --training.load_best_model_at_end "
                "false to keep the last weights, or train again."
            )
        super()._load_best_model()

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of augmentation and batches; called by `EpochBegin`."""
        dataset: Any = self.train_dataset
        if not hasattr(dataset, "durations"):  # The loader sets the epoch of a stream.
            return
        dataset.set_epoch(epoch)
        if isinstance(self._sampler, LengthBatchSampler):
            self._sampler.lengths = np.asarray(dataset.durations)
        if self._sampler is not None:
            self._sampler.set_epoch(epoch)

    def _duration_loader(self, max_seconds: float) -> torch.utils.data.DataLoader[Any]:
        """Returns a loader of batches of at most `max_seconds`, divided among the processes."""
        dataset: Any = self.train_dataset
        seed = self.args.data_seed or self.args.seed
        self._sampler = DurationBatchSampler(dataset.durations, max_seconds, seed, self.args.world_size)
        # All processes have the same number of batches, so accelerate must not repeat utterances to make them even.
        even_batches, self.accelerator.even_batches = self.accelerator.even_batches, False
        loader = self.accelerator.prepare(self._plain_loader(batch_sampler=self._sampler))
        self.accelerator.even_batches = even_batches
        return loader

    def _stream_loader(self, stream: SpeechStream) -> torch.utils.data.DataLoader[Any]:
        """Returns a loader of this process's part of a stream."""
        loader = self._plain_loader(batch_size=stream.batch_size)
        # By default, accelerate reads a stream in the first process and sends the batches to the others.
        one_process = {"num_processes": 1, "process_index": 0, "dispatch_batches": False}
        return prepare_data_loader(loader, self.args.device, put_on_device=True, **one_process)

    def _plain_loader(self, **batches: Any) -> torch.utils.data.DataLoader[Any]:
        """Returns a loader of the training split that accelerate has not prepared."""
        return torch.utils.data.DataLoader(
            self.train_dataset,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            **batches,
        )


class EpochBegin(TrainerCallback):
    """Sets the epoch of dataset and samplers, also when training resumes in the middle of an epoch.

    The Trainer only sets the epoch of its loader. When it resumes, the loader that skips batches does not always
    forward the epoch to dataset and samplers, and the rest of the epoch would differ.

    Args:
        set_epoch: Function of the epoch, counted from 0.
    """

    def __init__(self, set_epoch: Callable[[int], None]) -> None:
        self._set_epoch = set_epoch

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Sets the epoch."""
        self._set_epoch(int((state.epoch or 0.0) + 1e-6))
