"""The configuration of `SpeechLSTMEncoder` and `SpeechLSTMForAudioClassification`.

`strict` checks the type of each field when a configuration is created or loaded. It ignores annotations that are
strings, so this file must not use `from __future__ import annotations`.
"""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .config_ranges import CHANNELS, LAYERS, SIZE, check_ranges
from .frontends import check_front_end

RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("input_size", "hidden_size", "projection_size", "head_sizes"), SIZE),
    "stem_channels": CHANNELS,
    "num_hidden_layers": LAYERS,
    "feature_noise": (0, 1_000),
    "mixup_alpha": (0, 1_000),
    "mixup_probability": (0, 1),
    "class_weights": (0, 1e9),
}


@strict
class SpeechLSTMConfig(PreTrainedConfig):
    """Configuration of an LSTM that classifies utterances.

    Data flow: input dropout, SpecAugment (training only), an optional linear projection, an optional front end, the
    recurrent layers, pooling over time, dense layers, logits.

    Args:
        input_size: Features of an input frame; the feature extractor's `feature_size`.
        features_as_steps: Whether the LSTM reads the features of a time average as a sequence, one number per step,
            instead of reading frames.
        projection_size: Units of a linear layer and ReLU before everything else, or null for none.
        frontend: An entry of `FRONT_ENDS`, or null for "spectral" with `stem_channels`, "strided" with a `subsampling`
            above 1, and none otherwise.
        subsampling: Factor by which the front end shortens time: 1, 2 or 4.
        stem_channels: Channels of each convolution of "spectral", for features in order of frequency; null for a front
            end that mixes all features at once.
        num_deltas: Orders of deltas among the features (0, 1 or 2), which the convolutions of "spectral" treat as
            separate channels; the feature extractor's `num_deltas`.
        hidden_size: LSTM units of each direction, and features of the front end's output.
        num_hidden_layers: LSTM layers.
        bidirectional: Whether each layer also reads the sequence backwards.
        dropout: Dropout after the projection, the front end, each LSTM layer and each dense layer.
        input_dropout: Dropout on the input features.
        feature_noise: Standard deviation of Gaussian noise added to the input features while training.
        layer_norm: Whether each LSTM layer's output is layer-normalized.
        pooling: How frames become one vector: "last" (final state of each direction), "mean", "max" or "attention"
            (a learned softmax weight for each frame).
        head_sizes: Units of the dense ReLU layers between pooling and logits, or null for none.
        label_smoothing: Probability mass spread evenly over the classes in the loss.
        class_weights: Weight of each class in the loss, in the order of the labels, or null for equal weights.
        mixup_alpha: Mixup in training: utterances of a batch are blended in pairs, features and labels, with a share
            drawn from Beta(alpha, alpha) (Zhang et al., arXiv 1710.09412); 0 for none. Beyond the end of the shorter
            utterance, the longer one is unchanged.
        mixup_probability: Probability that a batch is blended.
        num_time_masks: SpecAugment: time masks for each utterance.
        time_mask_width: SpecAugment: largest width of a time mask in frames.
        max_time_mask_ratio: SpecAugment: largest share of an utterance that one time mask may cover.
        num_frequency_masks: SpecAugment: frequency masks for each utterance.
        frequency_mask_width: SpecAugment: largest width of a frequency mask in features.
    """

    model_type = "speech_lstm"

    input_size: int = 80
    features_as_steps: bool = False
    projection_size: int | None = None
    frontend: str | None = None
    subsampling: Literal[1, 2, 4] = 1
    stem_channels: list[int] | None = None
    num_deltas: Literal[0, 1, 2] = 0
    hidden_size: int = 128
    num_hidden_layers: int = 2
    bidirectional: bool = True
    dropout: float | int = 0.2
    input_dropout: float | int = 0.0
    feature_noise: float | int = 0.0
    layer_norm: bool = True
    pooling: Literal["last", "mean", "max", "attention"] = "attention"
    head_sizes: list[int] | None = None
    label_smoothing: float | int = 0.0
    class_weights: list[float | int] | None = None
    mixup_alpha: float | int = 0.0
    mixup_probability: float | int = 0.5
    num_time_masks: int = 0
    time_mask_width: int = 10
    max_time_mask_ratio: float | int = 0.2
    num_frequency_masks: int = 0
    frequency_mask_width: int = 8

    @property
    def frontend_name(self) -> str | None:
        """The model's entry of `FRONT_ENDS`, if it has a front end."""
        return self.frontend or ("spectral" if self.stem_channels else "strided" if self.subsampling > 1 else None)

    def validate_sizes(self) -> None:
        """Raises a ValueError for impossible values; `strict` calls it when a configuration is created or loaded."""
        if self.frontend_name is not None:
            check_front_end(self.frontend_name, self, round_up=True)
        if self.frontend == "spectral" and not self.stem_channels:
            raise ValueError("frontend='spectral' needs stem_channels: list the channels of its convolutions.")
        if self.frontend == "strided" and self.subsampling == 1:
            raise ValueError("frontend='strided' shortens time: set subsampling to 2 or 4.")
        check_ranges(self, RANGES, below_one=("dropout", "input_dropout", "label_smoothing"))
        if self.stem_channels and not self.subsampling.bit_length() - 1 <= len(self.stem_channels) <= 16:
            raise ValueError(
                f"stem_channels must list 1 to 16 convolutions, and at least {self.subsampling.bit_length() - 1} to "
                f"shorten time by {self.subsampling}: it lists {len(self.stem_channels)}."
            )
        if self.stem_channels and (self.projection_size is not None or self.features_as_steps):
            raise ValueError(
                "stem_channels convolves over frequencies, which features_as_steps and projection_size do not leave: "
                "set one or the other."
            )
        if self.stem_channels and self.input_size % (self.num_deltas + 1):
            raise ValueError(
                f"input_size must be a multiple of {self.num_deltas + 1} for features with {self.num_deltas} deltas, "
                f"and {self.input_size} is not."
            )
        if len(self.head_sizes or []) > 256:
            raise ValueError(f"head_sizes must be at most 256 layers, and {len(self.head_sizes or [])} are listed.")
        if self.class_weights is not None and len(self.class_weights) != self.num_labels:
            raise ValueError(
                f"class_weights lists {len(self.class_weights)} weights "
                f"for {self.num_labels} classes: give one for each."
            )


__all__ = ["SpeechLSTMConfig"]
