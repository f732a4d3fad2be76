"""`training.teacher`: knowledge distillation from a trained model, in addition to the labels.

`Distillation` trains on the teacher's posteriors (Hinton et al. 2015). Teacher and student must have the same tokens or
classes in the same order, and the same features. To learn from any other model, use `hf-speech label`.

`StateDistillation` trains on the encoder states of a larger model, such as Whisper, whatever its outputs: a linear
projection of the student's states predicts them, with the loss of DistilHuBERT (arXiv 2110.01900, equation 1). The
projection is part of the model only during training. Checkpoints store it in a separate file, not in
`model.safetensors`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel, TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from hf_speech.errors import RecipeError
from hf_speech.inference import LoadedModel, load_model
from hf_speech.models.spectral import VARIANCE_FLOOR
from hf_speech.training.checkpoints import checkpoint_folder
from hf_speech.training.options import EncoderTeacher, TrainingOptions
from hf_speech.training.teacher_states import CachedStates, TeacherEncoder

# Name of the projection in the model during training, and of its file in a checkpoint.
PROJECTION = "teacher_projection"
PROJECTION_FILE = f"{PROJECTION}.safetensors"
# Added to the deviations of mean states, so that constant ones do not divide by zero.
DEVIATION_FLOOR = 1e-4


class Distillation:
    """The loss between the logits of a student and a teacher.

    Args:
        teacher: The teacher, which is not trained.
        extractor: The student's feature extractor.
        weight: Weight of the teacher's loss, 0 to 1; the labels get the rest.

    Attributes:
        evaluates: Whether validation computes this loss instead of that of the labels.
    """

    evaluates = False

    def __init__(self, teacher: LoadedModel, extractor: Any, weight: float) -> None:
        self.weight = weight
        self.model: Any = teacher.model.eval().requires_grad_(False)
        self._renormalization: tuple[torch.Tensor, torch.Tensor] | None = None
        if extractor.normalization == "global":  # Each extractor uses the statistics of its own training data.
            (mean, deviation), (other_mean, other_deviation) = map(_statistics, (extractor, teacher.feature_extractor))
            self._renormalization = deviation / other_deviation, (mean - other_mean) / other_deviation

    def __call__(self, loss: torch.Tensor, logits: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        """Computes the loss of a batch.

        Args:
            loss: The loss of the labels.
            logits: Logits of the student, `(batch, frames, tokens)` or `(batch, classes)`.
            inputs: The batch, with `input_features`, `labels` and optionally `attention_mask`.

        Returns:
            The weighted sum of `loss` and the Kullback-Leibler divergence of the student from the teacher, which is
            summed over frames (padded ones agree) and, like the CTC loss, divided by the number of labels.
        """
        self.model.to(logits.device)
        with torch.no_grad():
            teacher_logits = self.model(
                input_features=self._features(inputs), attention_mask=inputs.get("attention_mask")
            ).logits
        divergence = F.kl_div(
            logits.float().log_softmax(-1), teacher_logits.float().log_softmax(-1), reduction="none", log_target=True
        )
        count = (inputs["labels"] >= 0).reshape(len(logits), -1).sum(1).clamp(min=1)
        return (1 - self.weight) * loss + self.weight * (divergence.flatten(1).sum(1) / count).mean()

    def _features(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """Returns the student's features with the teacher's normalization."""
        features: torch.Tensor = inputs["input_features"]
        if self._renormalization is None:
            return features
        scale, shift = (each.to(features.device) for each in self._renormalization)
        features = features * scale + shift
        mask = inputs.get("attention_mask")
        return features if mask is None else features * mask[..., None].to(features.dtype)


def make_distillation(
    options: TrainingOptions, model: PreTrainedModel, extractor: Any, tokenizer: Any
) -> Distillation | None:
    """Returns the loss for the posteriors of a recipe's teacher, or None without such a teacher.

    Raises:
        RecipeError: If teacher and student do not have the same outputs and features.
        ModelError: If the teacher does not exist.
    """
    if not isinstance(options.teacher, str):
        return None
    teacher = load_model(options.teacher, device="cpu")
    config: Any = model.config
    _refuse_mixup(config)
    if config.task != teacher.task.name:
        raise RecipeError(
            f"The teacher {options.teacher} is a model for {teacher.task.name}, not for {config.task}: choose another."
        )
    student = LoadedModel(model, extractor, teacher.task, "the recipe's model", tokenizer)
    if list(student.labels) != list(teacher.labels):
        raise RecipeError(
            f"The teacher {options.teacher} has {_list_labels(teacher)}, and the recipe's model "
            f"{_list_labels(student)}; they must be the same, in the same order: choose another teacher, or use "
            "hf-speech label."
        )
    own, other = (_settings(each) for each in (extractor, teacher.feature_extractor))
    if different := [key for key in own.keys() | other.keys() if own.get(key) != other.get(key)]:
        raise RecipeError(
            f"The teacher {options.teacher} was trained on other features ({', '.join(sorted(different))}): copy its "
            "section features, or use hf-speech label."
        )
    frames = [getattr(each, "num_logit_frames", int)(1000) for each in (model, teacher.model)]
    if frames[0] != frames[1]:
        raise RecipeError(
            f"The teacher {options.teacher} makes {frames[1]} frames of 1,000, and the recipe's model {frames[0]}: "
            "copy its model.subsampling and model.frontend."
        )
    return Distillation(teacher, extractor, options.teacher_weight)


class StateDistillation:
    """The loss between the encoder states of a student and a teacher.

    The teacher processes the recording, the student the augmented clip. Each frame of the student predicts the
    teacher's state at the same time of the recording, linearly interpolated between two states. Frames outside the
    recording (silence, context) are ignored. With `mean_weight`, the mean of the predicted states of a clip is also
    compared with the teacher's, standardized over the recordings: it depends less on phones, and more on the voice.

    Args:
        options: The layers of teacher and student, and the weight of the loss.
        teacher: The teacher.
        model: The student.
        extractor: The student's feature extractor.

    Attributes:
        evaluates: Whether validation computes this loss instead of that of the labels, which are not learned.
        projection: Linear layer from a state of the student to the states of the teacher's layers.
        states: For each split, a function that returns the teacher's states `(states, width)` of a row.
        mean_statistics: Mean and standard deviation `(width,)` of the mean states of the recordings, for `mean_weight`.

    Raises:
        RecipeError: If the student does not have the layer, or no frames.
    """

    def __init__(
        self, options: EncoderTeacher, teacher: TeacherEncoder, model: PreTrainedModel, extractor: Any
    ) -> None:
        config: Any = model.config
        _refuse_mixup(config)
        if extractor.time_average or getattr(config, "features_as_steps", False):
            raise RecipeError(
                "training.teacher needs features of frames, not averages over time: set features.time_average to false."
            )
        length = 240  # Divisible by all strides.
        with torch.no_grad():
            features = torch.zeros(1, length, config.input_size)
            states = model.eval()(input_features=features, output_hidden_states=True).hidden_states
        self.layer = len(states) - 1 if options.student_layer is None else options.student_layer
        if not 0 <= self.layer < len(states):
            raise RecipeError(
                f"The recipe's model has the layers 1 to {len(states) - 1} (0 is the front end), and "
                f"training.teacher.student_layer is {self.layer}: choose one of them."
            )
        self.weight, self._cache = options.weight, options.cache
        self.evaluates = options.weight == 1
        self._rate, self._num_layers = teacher.rate, len(teacher.layers)
        self.projection = nn.Linear(states[self.layer].shape[-1], teacher.width)
        self._feature_seconds = extractor.hop_length / extractor.sampling_rate
        self._seconds = length // states[self.layer].shape[1] * self._feature_seconds
        self._mean_weight = options.mean_weight
        self.states: dict[str, Callable[[int], np.ndarray]] = {}
        self.mean_statistics: tuple[torch.Tensor, torch.Tensor]

    def read(self, teacher: TeacherEncoder, datasets: Mapping[str, Any]) -> None:
        """Sets the recordings of the splits, and computes their states now if they are cached.

        Args:
            teacher: The teacher.
            datasets: The `SpeechDataset`s of the splits; the training split is required.
        """
        for split in ("train", "validation") if self.evaluates else ("train",):
            if (dataset := datasets.get(split)) is None:
                continue
            if self._cache:
                self.states[split] = CachedStates(teacher, dataset.audio, dataset.own_durations)
            else:
                self.states[split] = functools.partial(_states_of, teacher, dataset.audio)
        if self._mean_weight:
            states = map(self.states["train"], range(len(datasets["train"].audio)))
            means = np.stack([each.mean(axis=0, dtype=np.float32) for each in states])
            statistics = means.mean(axis=0), means.std(axis=0) + DEVIATION_FLOOR
            self.mean_statistics = torch.from_numpy(statistics[0]), torch.from_numpy(statistics[1])

    def attach(self, model: PreTrainedModel) -> None:
        """Adds the projection to the model, but not to its saved weights."""
        model.add_module(PROJECTION, self.projection)
        model._keys_to_ignore_on_save = {f"{PROJECTION}.{name}" for name in self.projection.state_dict()}

    def __call__(
        self,
        loss: torch.Tensor,
        hidden_states: Sequence[torch.Tensor],
        inputs: Mapping[str, Any],
        sources: torch.Tensor,
        split: str = "train",
    ) -> torch.Tensor:
        """Computes the loss of a batch.

        Args:
            loss: The loss of the labels.
            hidden_states: Hidden states of the student, each `(batch, frames, size)`.
            inputs: The batch, with `input_features` and optionally `attention_mask`.
            sources: Sources of the clips, from `SpeechCollator`.
            split: The split of the clips.

        Returns:
            The weighted sum of `loss` and the distance of the predicted states, averaged over frames (or clips) and
            layers.
        """
        hidden, mask = hidden_states[self.layer], inputs.get("attention_mask")
        lengths = torch.full((len(hidden),), inputs["input_features"].shape[1]) if mask is None else mask.sum(dim=1)
        clips = zip(sources.tolist(), lengths.tolist(), strict=True)
        states_of = self.states[split]
        targets = [self._targets(states_of, source, hidden.shape[1], length) for source, length in clips]
        known = torch.from_numpy(np.stack([known for _, known in targets])).to(hidden.device)
        target = torch.from_numpy(np.concatenate([states for states, _ in targets])).to(hidden.device)
        predicted, target = self.projection(hidden[known]).float(), target.float()
        distance = (1 - self._mean_weight) * self._distance(predicted, target)
        if self._mean_weight:
            counts = known.sum(dim=1).tolist()
            shift, scale = (each.to(hidden.device) for each in self.mean_statistics)
            means = [
                torch.stack([(clip.mean(dim=0) - shift) / scale for clip in frames.split(counts) if len(clip)])
                for frames in (predicted, target)
            ]
            distance = distance + self._mean_weight * self._distance(*means)
        return (1 - self.weight) * loss + self.weight * distance

    def _distance(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Returns the mean distance between two tensors of states `(states, width)`."""
        predicted, target = (each.unflatten(-1, (self._num_layers, -1)) for each in (predicted, target))
        distance = (predicted - target).abs().mean(-1) - F.logsigmoid(F.cosine_similarity(predicted, target, dim=-1))
        return distance.sum() / max(distance.numel(), 1)

    def _targets(
        self, states_of: Callable[[int], np.ndarray], source: Sequence[float], frames: int, length: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the target states `(known frames, width)` of a clip, and a mask `(frames,)` of the known frames.

        Args:
            states_of: Returns the teacher's states of a row.
            source: Source of the clip, a row of `sources`.
            frames: Number of the student's frames, including padding.
            length: Number of feature frames of the clip.
        """
        row, follower, begin, rate = source
        states = np.concatenate([states_of(int(each)) for each in (row, follower) if each >= 0])
        middles = (np.arange(frames) + 0.5) * self._seconds
        positions = (begin + rate * middles) * self._rate
        known = (middles < length * self._feature_seconds) & (positions >= 0) & (positions < len(states))
        positions = np.clip(positions[known] - 0.5, 0, max(len(states) - 1, 0))
        before = positions.astype(np.int64)
        share = (positions - before)[:, None].astype(np.float32)
        after = np.minimum(before + 1, len(states) - 1)
        return (1 - share) * states[before] + share * states[after], known


class ProjectionFiles(TrainerCallback):
    """Saves the projection of a `StateDistillation` in checkpoints, and removes it from the model after training.

    Args:
        projection: The projection.
        checkpoint: The checkpoint that training resumes from.
    """

    def __init__(self, projection: nn.Module, checkpoint: str | None = None) -> None:
        self.projection = projection
        self.checkpoint = checkpoint

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Loads the projection from the checkpoint."""
        if self.checkpoint is not None:
            self.projection.load_state_dict(load_file(Path(self.checkpoint) / PROJECTION_FILE))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Writes the projection to the checkpoint that was just saved."""
        if state.is_world_process_zero:
            save_file(self.projection.state_dict(), checkpoint_folder(args, state) / PROJECTION_FILE)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Removes the projection from the model."""
        delattr(model, PROJECTION)
        model._keys_to_ignore_on_save = set()


def _states_of(teacher: TeacherEncoder, audio: Sequence[Mapping[str, Any]], row: int) -> np.ndarray:
    return teacher.states_of(audio[row])


def _refuse_mixup(config: Any) -> None:
    if getattr(config, "mixup_alpha", 0):
        raise RecipeError("training.teacher cannot be combined with mixup: set model.mixup_alpha to 0.")


def _settings(extractor: Any) -> dict[str, Any]:
    """Returns the settings that affect the features, except for the statistics of the training data."""
    ignored = {
        "feature_mean",
        "feature_std",
        "feature_extractor_type",
        "processor_class",
        "auto_map",
        "return_attention_mask",
    }
    return {key: value for key, value in extractor.to_dict().items() if key not in ignored}


def _statistics(extractor: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the mean and standard deviation `(features,)` that an extractor normalizes with."""
    mean = torch.tensor(extractor.feature_mean)
    if not extractor.normalize_variance:
        return mean, torch.ones_like(mean)
    return mean, torch.tensor(extractor.feature_std).clamp(min=math.sqrt(VARIANCE_FLOOR))


def _list_labels(loaded: LoadedModel) -> str:
    names = [str(label) for label in loaded.labels]
    return f"{len(names)} outputs ({', '.join(names[:6])}{', ...' if len(names) > 6 else ''})"


__all__ = ["Distillation", "ProjectionFiles", "StateDistillation", "make_distillation"]
