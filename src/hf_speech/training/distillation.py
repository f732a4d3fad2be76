"""`training.teacher`: a trained model from which the new one learns besides the labels.

`Distillation` learns its posteriors (Hinton et al. 2015). The teacher must write the same tokens, or know the same
classes, in the same order, from the same features: then each logit of one is a logit of the other, and nothing has to
be translated. Anything else is refused before training; `hf-speech label` makes any model a teacher by what it writes.

`StateDistillation` learns the states of the encoder of a larger model, such as Whisper, whatever its outputs: a linear
projection of the student's states has to predict them, with the loss of DistilHuBERT (arXiv 2110.01900, equation 1).
The projection is a part of the model only while it is trained. Checkpoints keep it in a file of its own, and
`model.safetensors` never has it.
"""

from __future__ import annotations

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

# Name of the projection in the model while it is trained, and of its file in a checkpoint.
PROJECTION = "teacher_projection"
PROJECTION_FILE = f"{PROJECTION}.safetensors"


class Distillation:
    """The loss between a student and its teacher.

    Args:
        teacher: The teacher, which is not trained.
        extractor: The student's feature extractor.
        weight: The teacher's part of the loss, 0 to 1; the labels have the rest.
    """

    def __init__(self, teacher: LoadedModel, extractor: Any, weight: float) -> None:
        self.weight = weight
        self.model: Any = teacher.model.eval().requires_grad_(False)
        self._renormalization: tuple[torch.Tensor, torch.Tensor] | None = None
        if extractor.normalization == "global":  # Each extractor uses the statistics of its own training data.
            (mean, deviation), (other_mean, other_deviation) = map(_statistics, (extractor, teacher.feature_extractor))
            self._renormalization = deviation / other_deviation, (mean - other_mean) / other_deviation

    def __call__(self, loss: torch.Tensor, logits: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        """The loss of a batch.

        Args:
            loss: That of the labels.
            logits: The student's, `(batch, frames, tokens)` or `(batch, classes)`.
            inputs: The batch, with `input_features`, `labels` and maybe `attention_mask`.

        Returns:
            The weighted sum of `loss` and of the Kullback-Leibler divergence of the student from the teacher, summed
            over frames (padded ones agree) and, as the CTC loss beside it, divided by the number of labels.
        """
        self.model.to(logits.device)
        with torch.no_grad():
            taught = self.model(
                input_features=self._features(inputs), attention_mask=inputs.get("attention_mask")
            ).logits
        divergence = F.kl_div(
            logits.float().log_softmax(-1), taught.float().log_softmax(-1), reduction="none", log_target=True
        )
        count = (inputs["labels"] >= 0).reshape(len(logits), -1).sum(1).clamp(min=1)
        return (1 - self.weight) * loss + self.weight * (divergence.flatten(1).sum(1) / count).mean()

    def _features(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """The student's features, normalized as the teacher's."""
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
    """The loss of a recipe's teacher whose posteriors are learned; None without one.

    Raises:
        RecipeError: If teacher and student do not have the same outputs for the same features.
        ModelError: If there is no such teacher.
    """
    if not isinstance(options.teacher, str):
        return None
    teacher = load_model(options.teacher, device="cpu")
    config: Any = model.config
    _refuse_mixup(config)
    student = LoadedModel(model, extractor, teacher.task, "the recipe's model", tokenizer)
    if config.task != teacher.task.name or list(student.labels) != list(teacher.labels):
        raise RecipeError(
            f"The teacher {options.teacher} has {_shown(teacher)}, and the recipe's model {_shown(student)}: their "
            "outputs must be the same, in the same order; label the recordings with hf-speech label instead."
        )
    own, other = (_settings(each) for each in (extractor, teacher.feature_extractor))
    if different := [key for key in own.keys() | other.keys() if own.get(key) != other.get(key)]:
        raise RecipeError(
            f"The teacher {options.teacher} was trained on other features ({', '.join(sorted(different))}): take its "
            "section features, or label the recordings with hf-speech label instead."
        )
    frames = [getattr(each, "num_logit_frames", int)(1000) for each in (model, teacher.model)]
    if frames[0] != frames[1]:
        raise RecipeError(
            f"The teacher {options.teacher} has other frames ({frames[1]} of 1,000, the recipe's model {frames[0]}): "
            "take its model.subsampling and model.frontend."
        )
    return Distillation(teacher, extractor, options.teacher_weight)


class StateDistillation:
    """The loss between a student's states and those of a teacher's encoder.

    The teacher's states belong to the recording, the student's to the augmented clip: each of the student's frames
    predicts what the teacher says about the same moment of the recording, between two states of the teacher a linear
    interpolation of both. Frames of sound that the recording does not have (silence, context) predict nothing.

    Args:
        options: Which states are learned by which layer, and the teacher's part of the loss.
        teacher: The teacher.
        model: The student.
        extractor: Its feature extractor.

    Attributes:
        projection: From a state of the student to those of the teacher's layers.
        states: Gives the teacher's states `(states, width)` of a row of the training split.

    Raises:
        RecipeError: If the student does not have such a layer, or no frames.
    """

    def __init__(
        self, options: EncoderTeacher, teacher: TeacherEncoder, model: PreTrainedModel, extractor: Any
    ) -> None:
        config: Any = model.config
        _refuse_mixup(config)
        if extractor.time_average or getattr(config, "features_as_steps", False):
            raise RecipeError(
                "The states of a teacher belong to moments, and the features are averages over time: set "
                "features.time_average to false."
            )
        length = 240  # Any that strides divide.
        with torch.no_grad():
            features = torch.zeros(1, length, config.input_size)
            found = model.eval()(input_features=features, output_hidden_states=True).hidden_states
        self.layer = len(found) - 1 if options.student_layer is None else options.student_layer
        if not 0 <= self.layer < len(found):
            raise RecipeError(
                f"The recipe's model has the layers 1 to {len(found) - 1} (0 is the front end), and "
                f"training.teacher.student_layer is {self.layer}: choose one of them."
            )
        self.weight = options.weight
        self._rate, self._num_layers = teacher.rate, len(teacher.layers)
        self.projection = nn.Linear(found[self.layer].shape[-1], teacher.width)
        self._feature_seconds = extractor.hop_length / extractor.sampling_rate
        self._seconds = length // found[self.layer].shape[1] * self._feature_seconds
        self.states: Callable[[int], np.ndarray]  # `read` sets it.

    def read(
        self,
        teacher: TeacherEncoder,
        audio: Sequence[Mapping[str, Any]],
        durations: Sequence[float] | None = None,
    ) -> None:
        """Takes the states from these recordings: with their durations from the cache, which is filled first."""
        if durations is None:
            self.states = lambda row: teacher.states_of(audio[row])
        else:
            self.states = CachedStates(teacher, audio, durations)

    def attach(self, model: PreTrainedModel) -> None:
        """Makes the projection a part of the model, which does not save it."""
        model.add_module(PROJECTION, self.projection)
        model._keys_to_ignore_on_save = {f"{PROJECTION}.{name}" for name in self.projection.state_dict()}

    def __call__(
        self,
        loss: torch.Tensor,
        hidden_states: Sequence[torch.Tensor],
        inputs: Mapping[str, Any],
        sources: torch.Tensor,
    ) -> torch.Tensor:
        """The loss of a batch.

        Args:
            loss: That of the labels.
            hidden_states: The student's, each `(batch, frames, size)`.
            inputs: The batch, with `input_features` and maybe `attention_mask`.
            sources: Where its clips come from, as `SpeechCollator` says.

        Returns:
            The weighted sum of `loss` and of the distance of the predicted states, a mean over frames and layers.
        """
        hidden, mask = hidden_states[self.layer], inputs.get("attention_mask")
        lengths = torch.full((len(hidden),), inputs["input_features"].shape[1]) if mask is None else mask.sum(dim=1)
        clips = zip(sources.tolist(), lengths.tolist(), strict=True)
        targets = [self._targets(source, hidden.shape[1], length) for source, length in clips]
        known = torch.from_numpy(np.stack([known for _, known in targets])).to(hidden.device)
        wanted = torch.from_numpy(np.concatenate([states for states, _ in targets])).to(hidden.device)
        layers = (self._num_layers, -1)
        predicted = self.projection(hidden[known]).float().unflatten(-1, layers)
        wanted = wanted.float().unflatten(-1, layers)
        distance = (predicted - wanted).abs().mean(-1) - F.logsigmoid(F.cosine_similarity(predicted, wanted, dim=-1))
        return (1 - self.weight) * loss + self.weight * distance.sum() / max(distance.numel(), 1)

    def _targets(self, source: Sequence[float], frames: int, length: float) -> tuple[np.ndarray, np.ndarray]:
        """What the frames of a clip should predict: states `(known frames, width)`, and which of all frames these are.

        Args:
            source: Where the clip comes from: its row of `sources`.
            frames: The student's frames, padding included.
            length: Frames of the clip's features.
        """
        row, follower, begin, rate = source
        states = np.concatenate([self.states(int(each)) for each in (row, follower) if each >= 0])
        middles = (np.arange(frames) + 0.5) * self._seconds
        places = (begin + rate * middles) * self._rate
        known = (middles < length * self._feature_seconds) & (places >= 0) & (places < len(states))
        places = np.clip(places[known] - 0.5, 0, max(len(states) - 1, 0))
        before = places.astype(np.int64)
        share = (places - before)[:, None].astype(np.float32)
        after = np.minimum(before + 1, len(states) - 1)
        return (1 - share) * states[before] + share * states[after], known


class ProjectionFiles(TrainerCallback):
    """Keeps the projection of a `StateDistillation` in checkpoints, and takes it out of the model in the end.

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
        """Reads it from the checkpoint."""
        if self.checkpoint is not None:
            self.projection.load_state_dict(load_file(Path(self.checkpoint) / PROJECTION_FILE))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Writes it into the checkpoint that was just saved."""
        if state.is_world_process_zero:
            save_file(self.projection.state_dict(), checkpoint_folder(args, state) / PROJECTION_FILE)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Takes it out of the model."""
        delattr(model, PROJECTION)
        model._keys_to_ignore_on_save = set()


def _refuse_mixup(config: Any) -> None:
    if getattr(config, "mixup_alpha", 0):
        raise RecipeError("training.teacher cannot be combined with mixup: set model.mixup_alpha to 0.")


def _settings(extractor: Any) -> dict[str, Any]:
    """What decides the features, but for the statistics of the training data."""
    left_out = {
        "feature_mean",
        "feature_std",
        "feature_extractor_type",
        "processor_class",
        "auto_map",
        "return_attention_mask",
    }
    return {key: value for key, value in extractor.to_dict().items() if key not in left_out}


def _statistics(extractor: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation `(features,)` by which an extractor normalizes."""
    mean = torch.tensor(extractor.feature_mean)
    if not extractor.normalize_variance:
        return mean, torch.ones_like(mean)
    return mean, torch.tensor(extractor.feature_std).clamp(min=math.sqrt(VARIANCE_FLOOR))


def _shown(loaded: LoadedModel) -> str:
    names = [str(label) for label in loaded.labels]
    return f"{len(names)} outputs ({', '.join(names[:6])}{', ...' if len(names) > 6 else ''})"


__all__ = ["Distillation", "ProjectionFiles", "StateDistillation", "make_distillation"]
