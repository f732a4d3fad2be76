"""transformers' Trainer, with the two things it does otherwise than short utterances need.

- `LengthBatchSampler`: Trainer's own grouping by length hands out each stretch of the epoch from long to short (so a
  classifier sees its short words last) and reorders evaluation too. Here batches of similar length come in random
  order, and evaluation keeps the rows' order.
- `ProgressReporter`: one bar for the whole training and one readable line an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import ProgressCallback, Trainer
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.trainer_utils import has_length
from transformers.training_args import TrainingArguments


class LengthBatchSampler(torch.utils.data.Sampler[int]):
    """Row indices such that each `batch_size` consecutive ones have similar lengths, in random order.

    Rows are shuffled, sorted by length within windows of `window` batches, and the resulting batches shuffled. Only
    seed and epoch decide, so that a resumed run continues with the same batches and all processes agree.

    Args:
        lengths: Length of each row, in any unit.
        batch_size: Rows in a batch (of all processes together).
        seed: Seed of the order.
        window: Batches among which rows are sorted: the larger, the less padding and the less chance.
    """

    def __init__(self, lengths: Sequence[float], batch_size: int, seed: int = 0, window: int = 20) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.window = window
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Draws another order from here on."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(len(self.lengths))
        span = self.batch_size * self.window
        windows = [order[start : start + span] for start in range(0, len(order), span)]
        order = np.concatenate([rows[np.argsort(self.lengths[rows], kind="stable")] for rows in windows])
        # The incomplete batch stays last, or the boundaries of all later ones would shift.
        complete = len(order) // self.batch_size * self.batch_size
        batches = order[:complete].reshape(-1, self.batch_size)
        yield from rng.permutation(batches).flatten().tolist()
        yield from order[complete:].tolist()


class SpeechTrainer(Trainer):
    """Trainer for a `SpeechDataset`.

    Args:
        group_by_length: Whether training batches hold utterances of similar length.
        **kwargs: Arguments of `transformers.Trainer`.
    """

    def __init__(self, *, group_by_length: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.group_by_length = group_by_length
        self._sampler: LengthBatchSampler | None = None

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler | None:
        dataset = train_dataset if train_dataset is not None else self.train_dataset
        if not self.group_by_length or not hasattr(dataset, "durations"):
            return super()._get_train_sampler(dataset)
        batch = self.args.train_batch_size * self.args.world_size
        self._sampler = LengthBatchSampler(dataset.durations, batch, self.args.data_seed or self.args.seed)
        return self._sampler

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        """The training loader; `set_epoch` on it also reaches the sampler, however accelerate has wrapped it."""
        loader = super().get_train_dataloader()
        forward = getattr(loader, "set_epoch", None)

        def set_epoch(epoch: int) -> None:
            if forward is not None:
                forward(epoch)
            if self._sampler is not None:
                self._sampler.set_epoch(epoch)

        loader.set_epoch = set_epoch
        return loader


class ProgressReporter(ProgressCallback):
    """A progress bar over all steps, and a line of words after each epoch instead of a dictionary."""

    def __init__(self, metric: str) -> None:
        super().__init__()
        self.metric = metric
        self._training_loss = float("nan")
        self.prediction_bar: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Opens the bar."""
        self.current_step = 0
        if state.is_world_process_zero:
            self.training_bar = tqdm(total=state.max_steps, desc="Training", unit="step", dynamic_ncols=True)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Logs the loss, however few steps the epoch had."""
        control.should_log = True
        return control

    def on_prediction_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        eval_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        """Shows a second bar while the validation split is run, and takes it away afterwards."""
        if state.is_world_process_zero and self.prediction_bar is None:
            total = len(eval_dataloader) if has_length(eval_dataloader) else None
            self.prediction_bar = tqdm(total=total, desc="Validating", unit="batch", leave=False, delay=1)
        if self.prediction_bar is not None:
            self.prediction_bar.update(1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Shows the loss on the bar; writes a line when an evaluation is logged."""
        if not state.is_world_process_zero or self.training_bar is None or logs is None:
            return
        if "loss" in logs:
            self._training_loss = float(logs["loss"])
            self.training_bar.set_postfix(loss=f"{self._training_loss:.3f}")
        if "eval_loss" in logs:
            line = (
                f"epoch {state.epoch or 0:5.1f}   loss {self._training_loss:6.3f}   "
                f"validation loss {logs['eval_loss']:6.3f}"
            )
            value = logs.get(f"eval_{self.metric}")
            self.training_bar.write(line if value is None else f"{line}   {self.metric} {value:7.2%}")


__all__ = ["LengthBatchSampler", "ProgressReporter", "SpeechTrainer"]
