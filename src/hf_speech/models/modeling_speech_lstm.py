"""An LSTM that classifies utterances, and its encoder.

Every layer masks the frames beyond a clip's end, so that a clip has the same logits alone and in any batch, and mixup
does not blend sound with padding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from .configuration_speech_lstm import SpeechLSTMConfig
from .convolutions import mask_frames
from .frontends import FRONT_ENDS
from .recurrent import RecurrentLayer, frame_mask, initialize_recurrence, valid_lengths
from .spec_augment import spec_augment_by_config
from .speech_model import SpeechPreTrainedModel


class Pooling(nn.Module):
    """Pools the valid frames of each utterance: `(batch, frames, size)` to `(batch, size)`.

    Args:
        kind: "last", "mean", "max" or "attention".
        size: Features of a frame.
        hidden_size: Features of the forward direction; the rest is the backward direction.
    """

    def __init__(self, kind: str, size: int, hidden_size: int) -> None:
        super().__init__()
        self.kind = kind
        self.hidden_size = hidden_size
        self.scorer = nn.Linear(size, 1) if kind == "attention" else None

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Pools `frames` `(batch, frames, size)`, of which `lengths` `(batch,)` are valid."""
        if self.kind == "last":
            # The backward direction has read the whole clip at the first frame.
            last = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, self.hidden_size)
            forward = frames[:, :, : self.hidden_size].gather(1, last).squeeze(1)
            return torch.cat((forward, frames[:, 0, self.hidden_size :]), dim=-1)
        valid = frame_mask(lengths, frames.shape[1])[:, :, None]
        if self.kind == "mean":
            # In float16, the sum over minutes of sound would overflow.
            total = frames.sum(dim=1, dtype=torch.promote_types(frames.dtype, torch.float32))
            return (total / lengths.clamp(min=1)[:, None]).to(frames.dtype)
        lowest = torch.finfo(frames.dtype).min
        if self.scorer is None:
            return frames.masked_fill(~valid, lowest).amax(dim=1)
        weights = self.scorer(frames).masked_fill(~valid, lowest).softmax(dim=1)
        return (frames * weights).sum(dim=1)


class SpeechLSTMPreTrainedModel(SpeechPreTrainedModel):
    """Projection, front end and LSTM layers, which the encoder and the classifier share."""

    config_class = SpeechLSTMConfig
    base_model_prefix = "speech_lstm"
    encoder_class = "SpeechLSTMEncoder"

    def __init__(self, config: SpeechLSTMConfig) -> None:
        super().__init__(config)
        size = 1 if config.features_as_steps else config.input_size
        self.projection: nn.Linear | None = None
        if config.projection_size is not None:
            self.projection = nn.Linear(size, config.projection_size)
            size = config.projection_size
        self.stem: Any = None
        if config.frontend_name is not None:
            self.stem = FRONT_ENDS[config.frontend_name].module(config, size)
            size = self.stem.output_size
        self.layers = nn.ModuleList()
        self.norms = nn.ModuleList()
        for _ in range(config.num_hidden_layers):
            layer = RecurrentLayer("lstm", size, config.hidden_size, config.bidirectional)
            size = layer.output_size
            self.layers.append(layer)
            self.norms.append(nn.LayerNorm(size) if config.layer_norm else nn.Identity())
        self.dropout = nn.Dropout(config.dropout)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.LSTM):
            initialize_recurrence(module)
        elif isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    def get_input_embeddings(self) -> nn.Module:
        """The module that reads the input: the projection, the front end or the first LSTM layer."""
        module: nn.Module = self.projection or self.stem or self.layers[0]
        return module

    def read_input(
        self, input_features: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Checks the input `(batch, frames, features)` and its mask; returns the frames to encode and their lengths."""
        lengths = valid_lengths(input_features, attention_mask, self.config.input_size)
        if not self.config.features_as_steps:
            return input_features, lengths
        if input_features.shape[1] != 1:
            raise ValueError(
                f"features_as_steps reads the average over time, one frame, and got {input_features.shape[1]} frames: "
                "set time_average in the feature extractor."
            )
        return input_features.mT, torch.full_like(lengths, input_features.shape[2])

    def encode(self, frames: torch.Tensor, lengths: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Runs all layers.

        Args:
            frames: `(batch, frames, features)`, as `read_input` returns them.
            lengths: Valid frames of each clip, `(batch,)`.

        Returns:
            The hidden states `(batch, frames, size)`: the input of the first LSTM layer and the output of each layer,
            of which the last is zero on padded frames; and the valid frames of each clip.
        """
        if self.projection is not None:
            frames = self.dropout(F.relu(self.projection(frames)))
        if self.stem is not None:
            frames, lengths = self.stem(frames, lengths)
        states = [frames]
        for layer, norm in zip(self.layers, self.norms, strict=True):
            states.append(self.dropout(norm(layer(states[-1], lengths))))
        # Layer norm adds its bias to padded frames, but pooling expects zeros there.
        states[-1] = mask_frames(states[-1], lengths)
        return states, lengths


class SpeechLSTMEncoder(SpeechLSTMPreTrainedModel):
    """`SpeechLSTMForAudioClassification` without pooling and classifier; see `SpeechLSTMConfig`."""

    _keys_to_ignore_on_load_unexpected = [r"^(pooling|head|classifier)\."]  # noqa: RUF012

    def __init__(self, config: SpeechLSTMConfig) -> None:
        super().__init__(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutput:
        """Encodes a batch of utterances; see `SpeechLSTMForAudioClassification.forward` for the arguments.

        Returns:
            `last_hidden_state` `(batch, frames, size)`, zero on padded frames, and, if requested, `hidden_states`: the
            input of the first LSTM layer and the output of each layer.
        """
        states, _ = self.encode(*self.read_input(input_features, attention_mask))
        hidden_states = self.select_hidden_states(states, output_hidden_states)
        return BaseModelOutput(last_hidden_state=states[-1], hidden_states=hidden_states)


class SpeechLSTMForAudioClassification(SpeechLSTMPreTrainedModel):
    """LSTM audio classifier; see `SpeechLSTMConfig` for its parts.

    `SpeechFeatureExtractor` computes its input; `pipeline("audio-classification")` runs both.
    """

    def __init__(self, config: SpeechLSTMConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        size = config.hidden_size * (2 if config.bidirectional else 1)
        self.pooling = Pooling(config.pooling, size, config.hidden_size)
        self.head = nn.ModuleList()
        for units in config.head_sizes or []:
            self.head.append(nn.Linear(size, units))
            size = units
        self.classifier = nn.Linear(size, config.num_labels)
        self.post_init()

    def _perturb(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Applies noise, dropout and SpecAugment to the input features in training."""
        config = self.config
        if config.feature_noise:
            noisy = features + config.feature_noise * torch.randn_like(features)
            features = mask_frames(noisy, lengths)
        return spec_augment_by_config(F.dropout(features, config.input_dropout), lengths, config)

    def _blend(
        self, features: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
        """Mixup: blends each utterance with another one of the batch, which gets the smaller share.

        Beyond the end of the shorter utterance, the frames of the longer one are unchanged.

        Returns:
            The blended features `(batch, frames, features)`, their lengths, the index of each utterance's partner
            `(batch,)`, and the share of the utterance itself.
        """
        partner = torch.arange(len(features), device=features.device)
        if self.config.mixup_alpha == 0 or torch.rand(()) >= self.config.mixup_probability:
            return features, lengths, partner, 1.0
        share = float(torch.distributions.Beta(self.config.mixup_alpha, self.config.mixup_alpha).sample())
        share = max(share, 1 - share)
        partner = partner[torch.randperm(len(features))]
        valid = frame_mask(lengths, features.shape[1])[:, :, None]
        other, other_valid = features[partner], valid[partner]
        blended = torch.where(valid, features, other)
        blended = torch.where(valid & other_valid, share * features + (1 - share) * other, blended)
        return blended, torch.maximum(lengths, lengths[partner]), partner, share

    def _loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        weights = self.config.class_weights
        return F.cross_entropy(
            logits,
            labels,
            weight=None if weights is None else torch.tensor(weights, device=logits.device, dtype=logits.dtype),
            label_smoothing=self.config.label_smoothing,
        )

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Classifies a batch of utterances.

        Args:
            input_features: `(batch, frames, features)`, padded on the right.
            attention_mask: `(batch, frames)`, one where a frame is valid; None if all are.
            labels: Class ids `(batch,)`; if given, the cross-entropy loss is computed.
            output_hidden_states: Whether to return `hidden_states`; None for the configuration's setting.

        Returns:
            `logits` `(batch, num_labels)` and, with labels, the scalar `loss`.

        Raises:
            ValueError: If the number of features is not that of the model, or shapes disagree.
        """
        frames, lengths = self.read_input(input_features, attention_mask)
        partner, share = None, 1.0
        if self.training and labels is not None:
            frames, lengths, partner, share = self._blend(frames, lengths)
        if self.training:
            frames = self._perturb(frames, lengths)
        states, lengths = self.encode(frames, lengths)
        pooled = self.pooling(states[-1], lengths)
        for dense in self.head:
            pooled = self.dropout(F.relu(dense(pooled)))
        logits = self.classifier(pooled)
        loss = None
        if labels is not None:
            loss = self._loss(logits, labels)
            if share < 1:
                loss = share * loss + (1 - share) * self._loss(logits, labels[partner])
        hidden_states = self.select_hidden_states(states, output_hidden_states)
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=hidden_states)


__all__ = ["SpeechLSTMEncoder", "SpeechLSTMForAudioClassification"]
