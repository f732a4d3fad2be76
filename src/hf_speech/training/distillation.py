"""`training.teacher`: a trained model whose posteriors the new one learns besides the labels (Hinton et al. 2015).

The teacher must write the same tokens, or know the same classes, in the same order, from the same features: then each
logit of one is a logit of the other, and nothing has to be translated. Anything else is refused before training;
`hf-speech label` makes any model a teacher by what it writes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from hf_speech.errors import RecipeError
from hf_speech.inference import LoadedModel, load_model
from hf_speech.models.spectral import VARIANCE_FLOOR
from hf_speech.training.options import TrainingOptions


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
    """The loss of the recipe's teacher; None without one.

    Raises:
        RecipeError: If teacher and student do not have the same outputs for the same features.
        ModelError: If there is no such teacher.
    """
    if options.teacher is None:
        return None
    teacher = load_model(options.teacher, device="cpu")
    config: Any = model.config
    if getattr(config, "mixup_alpha", 0):
        raise RecipeError("training.teacher cannot be combined with mixup: set model.mixup_alpha to 0.")
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


__all__ = ["Distillation", "make_distillation"]
