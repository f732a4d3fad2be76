"""transformers' Trainer, with what it does otherwise than utterances need.

- `LengthBatchSampler`: Trainer's own grouping by length hands out each stretch of the epoch from long to short (so a
  classifier sees its short words last) and reorders evaluation too. Here batches of similar length come in random
  order, and evaluation keeps the rows' order.
- `DurationBatchSampler`: batches of so many seconds, padding included, instead of so many utterances.
- `EpochBegin`: augmentation and batches of an epoch, also of one that is resumed in its middle.
- `ProgressReporter`: one bar for the whole training and one readable line an epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from accelerate.data_loader import prepare_data_loader
from tqdm.auto import tqdm
from transformers import ProgressCallback, TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.trainer_utils import IntervalStrategy, has_length
from transformers.training_args import TrainingArguments

from hf_speech.data.dataset import TRAINERS_OWN
from hf_speech.data.inspection import Finding
from hf_speech.data.stream import SpeechStream
from hf_speech.errors import CorpusError
from hf_speech.training.profile import Profile
from hf_speech.training.pushing import SnapshotPushes


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


class DurationBatchSampler(torch.utils.data.Sampler[list[int]]):
    """Batches of row indices that fill a budget of seconds, in an order that changes with the epoch.

    What a batch costs is its longest utterance times their number, padding included. Which utterances share a batch is
    decided once, by seed: so the number of batches, from which the Trainer plans its steps, never changes.

    Args:
        durations: Seconds of each row.
        max_seconds: Budget of a batch in seconds; a single utterance that exceeds it is a batch of its own.
        seed: Seed of composition and order.
        divisible_by: What the number of batches is made a multiple of, by halving the largest ones: the number of
            processes, which must all have equally many.
    """

    def __init__(self, durations: Sequence[float], max_seconds: float, seed: int = 0, divisible_by: int = 1) -> None:
        self.seed = seed
        self.epoch = 0
        rng = np.random.default_rng(seed)
        # A tenth of jitter, so that it is not always the same neighbors by length that meet.
        order = np.argsort(np.asarray(durations) * rng.uniform(0.95, 1.05, len(durations)), kind="stable")
        self.batches: list[list[int]] = []
        longest = 0.0
        for index in order.tolist():
            longest = max(longest, durations[index])
            if not self.batches or longest * (len(self.batches[-1]) + 1) > max_seconds:
                self.batches.append([])
                longest = durations[index]
            self.batches[-1].append(index)
        while len(self.batches) % divisible_by and max(map(len, self.batches)) > 1:
            largest = max(self.batches, key=len)
            self.batches.append(largest[len(largest) // 2 :])
            del largest[len(largest) // 2 :]

    def __len__(self) -> int:
        return len(self.batches)

    def set_epoch(self, epoch: int) -> None:
        """Draws another order from here on."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        for index in np.random.default_rng((self.seed, self.epoch)).permutation(len(self.batches)):
            yield list(self.batches[index])


class SpeechTrainer(SnapshotPushes):
    """Trainer for a `SpeechDataset` or a `SpeechStream`.

    Attributes:
        left_out: The utterances of a stream that could not be learned from, in this process.

    Args:
        group_by_length: Whether training batches hold utterances of similar length.
        max_batch_seconds: Seconds of sound in a training batch of each process, padding included, instead of a number
            of utterances.
        profile: Takes where the time goes, if anybody wants to know.
        **kwargs: Arguments of `transformers.Trainer`.
    """

    def __init__(
        self,
        *,
        group_by_length: bool = True,
        max_batch_seconds: float | None = None,
        profile: Profile | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
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
        """The loss of a batch; while training, remembers which files it came from."""
        files, left_out, seconds = (inputs.pop(name, None) for name in TRAINERS_OWN)
        if files is not None and model.training:
            self._files += files
            for reason in left_out:
                self.left_out.add(reason)
            if self.profile is not None:
                self.profile.add_batch(seconds)
        return super().compute_loss(model, inputs, *args, **kwargs)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The batches of a step; how long they were waited for goes into the profile."""
        start = time.perf_counter()
        try:
            batches = super().get_batch_samples(*args, **kwargs)
        except CorpusError as error:
            # Of a loader's process, an error arrives with the traceback it had there.
            raise CorpusError(str(error).strip().rpartition(f"{CorpusError.__name__}: ")[2]) from error
        if self.profile is not None:
            self.profile.add_wait(time.perf_counter() - start)
        return batches

    def take_files(self) -> list[str]:
        """The files of the utterances since the last call, in this process."""
        files, self._files = self._files, []
        return files

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler | None:
        dataset = train_dataset if train_dataset is not None else self.train_dataset
        if not self.group_by_length or not hasattr(dataset, "durations"):
            return super()._get_train_sampler(dataset)
        batch = self.args.train_batch_size * self.args.world_size
        self._sampler = LengthBatchSampler(dataset.durations, batch, self.args.data_seed or self.args.seed)
        return self._sampler

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        """The training loader: of utterances, of seconds, or of a stream."""
        if isinstance(self.train_dataset, SpeechStream):
            return self._stream_loader(self.train_dataset)
        if self.max_batch_seconds is None:
            return super().get_train_dataloader()
        return self._duration_loader(self.max_batch_seconds)

    def set_epoch(self, epoch: int) -> None:
        """Draws augmentation and batches of an epoch; `EpochBegin` calls it."""
        dataset: Any = self.train_dataset
        if not hasattr(dataset, "durations"):  # The loader tells a stream.
            return
        dataset.set_epoch(epoch)
        if isinstance(self._sampler, LengthBatchSampler):
            self._sampler.lengths = np.asarray(dataset.durations)
        if self._sampler is not None:
            self._sampler.set_epoch(epoch)

    def _duration_loader(self, max_seconds: float) -> torch.utils.data.DataLoader:
        """A loader of batches that fill `max_seconds`, a share of them in each process."""
        dataset: Any = self.train_dataset
        seed = self.args.data_seed or self.args.seed
        self._sampler = DurationBatchSampler(dataset.durations, max_seconds, seed, self.args.world_size)
        # The processes have equally many batches already; accelerate evens them out by repeating utterances, which
        # evaluation needs.
        evens, self.accelerator.even_batches = self.accelerator.even_batches, False
        loader = self.accelerator.prepare(self._plain_loader(batch_sampler=self._sampler))
        self.accelerator.even_batches = evens
        return loader

    def _stream_loader(self, stream: SpeechStream) -> torch.utils.data.DataLoader:
        """A loader of a stream, of which each process has its own part already."""
        loader = self._plain_loader(batch_size=stream.batch_size)
        # Left to itself, accelerate would read everything in the first process and hand it out.
        alone = {"num_processes": 1, "process_index": 0, "dispatch_batches": False}
        return prepare_data_loader(loader, self.args.device, put_on_device=True, **alone)

    def _plain_loader(self, **batches: Any) -> torch.utils.data.DataLoader:
        """A loader of the training split that accelerate has not seen yet."""
        return torch.utils.data.DataLoader(
            self.train_dataset,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            **batches,
        )


class EpochBegin(TrainerCallback):
    """Tells which epoch begins, also when a training goes on in the middle of one.

    The Trainer tells its loader alone. Of the loader that skips what has been seen, accelerate does not hand it on to
    dataset and samplers in all cases; and then the rest of that epoch would be another than it was.

    Args:
        set_epoch: Takes the number of the epoch, from 0.
    """

    def __init__(self, set_epoch: Callable[[int], None]) -> None:
        self._set_epoch = set_epoch

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Hands it on."""
        self._set_epoch(int((state.epoch or 0.0) + 1e-6))


class ProgressReporter(ProgressCallback):
    """A progress bar over all steps, and a line of words after each evaluation instead of a dictionary.

    Without a validation split there is a line after each epoch.
    """

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
        """Shows the loss on the bar; writes a line when an evaluation is logged, or an epoch without one has ended."""
        if not state.is_world_process_zero or self.training_bar is None or logs is None:
            return
        if "loss" in logs:
            self._training_loss = float(logs["loss"])
            self.training_bar.set_postfix(loss=f"{self._training_loss:.3f}")
            epoch = state.epoch or 0.0
            if args.eval_strategy == IntervalStrategy.NO and epoch.is_integer():
                self.training_bar.write(f"epoch {epoch:5.1f}   loss {self._training_loss:6.3f}")
        if "eval_loss" in logs:
            by_steps = args.eval_strategy == IntervalStrategy.STEPS
            when = f"step {state.global_step:7,}" if by_steps else f"epoch {state.epoch or 0:5.1f}"
            line = f"{when}   loss {self._training_loss:6.3f}   validation loss {logs['eval_loss']:6.3f}"
            value = logs.get(f"eval_{self.metric}")
            self.training_bar.write(line if value is None else f"{line}   {self.metric} {value:7.2%}")


__all__ = ["LengthBatchSampler", "ProgressReporter", "SpeechTrainer"]
