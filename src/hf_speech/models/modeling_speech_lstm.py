"""An LSTM that says which of a few classes an utterance belongs to.

Padding is invisible throughout: each step masks what lies beyond a clip's last frame, so a clip gets the same logits
alone and in any batch. Speed comes from `recurrent.py`; SpecAugment from `spec_augment.py`.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from .configuration_speech_lstm import SpeechLSTMConfig
from .convolutions import MaskedBatchNorm, mask_frames
from .recurrent import RecurrentLayer, frame_mask, initialize_recurrence, valid_lengths
from .spec_augment import spec_augment_by_config


class SubsamplingStem(nn.Module):
    """Stride-2 convolutions over time, masked, each followed by layer norm and GELU.

    Args:
        input_size: Features of an input frame.
        channels: Features of an output frame.
        factor: By how much time is shortened, a power of two.
        dropout: Dropout after each convolution.
    """

    def __init__(self, input_size: int, channels: int, factor: int, dropout: float) -> None:
        super().__init__()
        sizes = [input_size] + [channels] * (factor.bit_length() - 1)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(size, channels, kernel_size=3, stride=2, padding=1) for size in sizes[:-1]
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in self.convolutions)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Shortens `(batch, frames, input_size)` to `(batch, ceil(frames / factor), channels)`, with new lengths."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            # Padding must be zero on the way in, as beyond the end of the batch: then its amount makes no difference.
            frames = mask_frames(frames, lengths)
            frames = self.dropout(F.gelu(norm(convolution(frames.mT).mT)))
            lengths = (lengths + 1) // 2
        return mask_frames(frames, lengths), lengths


class TimeFrequencyStem(nn.Module):
    """Convolutions over time and frequency, with batch norm, and a linear projection.

    Each halves the frequencies; time is halved by as many, from the first, as `factor` asks for. What a higher voice
    says looks shifted upwards: a kernel that moves over the frequencies still knows it, while one that mixes all of
    them at once has to learn each voice anew.

    Args:
        input_size: Features of an input frame.
        num_maps: Parts of as many features each that they consist of (mel bins and their slopes): channels of the
            first convolution.
        stem_channels: Channels of each convolution. The first has a kernel of 5 by 5, the others of 3 by 3.
        channels: Features of an output frame.
        factor: By how much time is shortened, a power of two that the convolutions suffice for.
        dropout: Dropout before and after the projection.
    """

    def __init__(
        self, input_size: int, num_maps: int, stem_channels: list[int], channels: int, factor: int, dropout: float
    ) -> None:
        super().__init__()
        self.num_maps = num_maps
        halvings = factor.bit_length() - 1
        self.time_strides = [2 if index < halvings else 1 for index in range(len(stem_channels))]
        self.convolutions = nn.ModuleList()
        size = num_maps
        for index, (out_channels, stride) in enumerate(zip(stem_channels, self.time_strides, strict=True)):
            kernel = 3 if index else 5
            self.convolutions.append(nn.Conv2d(size, out_channels, kernel, stride=(stride, 2), padding=kernel // 2))
            size = out_channels
        self.norms = nn.ModuleList(MaskedBatchNorm(out_channels) for out_channels in stem_channels)
        frequencies = -(-input_size // num_maps // 2 ** len(stem_channels))
        self.projection = nn.Linear(frequencies * size, channels)
        self.norm = MaskedBatchNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Shortens `(batch, frames, input_size)` to `(batch, ceil(frames / factor), channels)`, with new lengths."""
        frames = mask_frames(frames, lengths).unflatten(2, (self.num_maps, -1)).movedim(2, 3)
        for convolution, norm, stride in zip(self.convolutions, self.norms, self.time_strides, strict=True):
            # Batch norm leaves zeros where padding is, and so does ReLU.
            frames = convolution(frames.movedim(3, 1)).movedim(1, 3)
            if stride == 2:
                lengths = (lengths + 1) // 2
            frames = F.relu(norm(frames, lengths))
        frames = self.projection(self.dropout(frames.flatten(2)))
        return self.dropout(F.relu(self.norm(frames, lengths))), lengths


class Pooling(nn.Module):
    """Makes one vector of an utterance's valid frames: `(batch, frames, size)` to `(batch, size)`.

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
            # The backward direction has read everything when it arrives at the first frame.
            last = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, self.hidden_size)
            forward = frames[:, :, : self.hidden_size].gather(1, last).squeeze(1)
            return torch.cat((forward, frames[:, 0, self.hidden_size :]), dim=-1)
        valid = frame_mask(lengths, frames.shape[1])[:, :, None]
        if self.kind == "mean":
            # In float16, the sum over minutes of sound would be infinite.
            total = frames.sum(dim=1, dtype=torch.promote_types(frames.dtype, torch.float32))
            return (total / lengths.clamp(min=1)[:, None]).to(frames.dtype)
        lowest = torch.finfo(frames.dtype).min
        if self.scorer is None:
            return frames.masked_fill(~valid, lowest).amax(dim=1)
        weights = self.scorer(frames).masked_fill(~valid, lowest).softmax(dim=1)
        return (frames * weights).sum(dim=1)


class SpeechLSTMForAudioClassification(PreTrainedModel):
    """LSTM audio classifier; see `SpeechLSTMConfig` for its parts.

    Its input comes from `SpeechFeatureExtractor`; `pipeline("audio-classification")` runs both.
    """

    config_class = SpeechLSTMConfig
    base_model_prefix = "speech_lstm"
    main_input_name = "input_features"
    # The loss is a mean over the batch: Trainer must divide it by the accumulation steps itself.
    accepts_loss_kwargs = False

    def __init__(self, config: SpeechLSTMConfig) -> None:
        super().__init__(config)
        size = 1 if config.features_as_steps else config.input_size
        self.projection: nn.Linear | None = None
        if config.projection_size is not None:
            self.projection = nn.Linear(size, config.projection_size)
            size = config.projection_size
        self.stem: SubsamplingStem | TimeFrequencyStem | None = None
        if config.stem_channels:
            self.stem = TimeFrequencyStem(
                size,
                config.num_deltas + 1,
                config.stem_channels,
                config.hidden_size,
                config.subsampling,
                config.dropout,
            )
            size = config.hidden_size
        elif config.subsampling > 1:
            self.stem = SubsamplingStem(size, config.hidden_size, config.subsampling, config.dropout)
            size = config.hidden_size
        self.layers = nn.ModuleList()
        self.norms = nn.ModuleList()
        for _ in range(config.num_hidden_layers):
            layer = RecurrentLayer("lstm", size, config.hidden_size, config.bidirectional)
            size = layer.output_size
            self.layers.append(layer)
            self.norms.append(nn.LayerNorm(size) if config.layer_norm else nn.Identity())
        self.pooling = Pooling(config.pooling, size, config.hidden_size)
        self.head = nn.ModuleList()
        for units in config.head_sizes or []:
            self.head.append(nn.Linear(size, units))
            size = units
        self.classifier = nn.Linear(size, config.num_labels)
        self.dropout = nn.Dropout(config.dropout)
        self.post_init()

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

    def _features_as_steps(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Turns time averages `(batch, 1, features)` into sequences `(batch, features, 1)`, with their lengths."""
        if features.shape[1] != 1:
            raise ValueError(
                f"features_as_steps reads the average over time, one frame, and got {features.shape[1]} frames: set "
                "time_average in the feature extractor."
            )
        return features.mT, torch.full((len(features),), features.shape[2], device=features.device)

    def _perturb(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Noise, dropout and SpecAugment on the input features while training."""
        config = self.config
        if config.feature_noise:
            noisy = features + config.feature_noise * torch.randn_like(features)
            features = mask_frames(noisy, lengths)
        return spec_augment_by_config(F.dropout(features, config.input_dropout), lengths, config)

    def _blend(
        self, features: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
        """Mixup: blends each utterance with another one of the batch, which has the smaller share.

        Returns the blended features `(batch, frames, features)`, their lengths, the index of each utterance's partner
        `(batch,)`, and the share of the utterance itself.
        """
        partner = torch.arange(len(features), device=features.device)
        if self.config.mixup_alpha == 0 or torch.rand(()) >= self.config.mixup_probability:
            return features, lengths, partner, 1.0
        share = float(torch.distributions.Beta(self.config.mixup_alpha, self.config.mixup_alpha).sample())
        share = max(share, 1 - share)
        partner = partner[torch.randperm(len(features))]
        blended = share * features + (1 - share) * features[partner]
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
    ) -> SequenceClassifierOutput:
        """Classifies a batch of utterances.

        Args:
            input_features: `(batch, frames, features)`, padded on the right.
            attention_mask: `(batch, frames)`, one where a frame is valid; all of them without it.
            labels: Class ids `(batch,)`; given, the cross-entropy loss is computed.

        Returns:
            `logits` `(batch, num_labels)` and, with labels, the scalar `loss`.

        Raises:
            ValueError: If a frame has another number of features than the model was built for, or shapes disagree.
        """
        lengths = valid_lengths(input_features, attention_mask, self.config.input_size)
        frames = input_features
        if self.config.features_as_steps:
            frames, lengths = self._features_as_steps(frames)
        partner, share = None, 1.0
        if self.training and labels is not None:
            frames, lengths, partner, share = self._blend(frames, lengths)
        if self.training:
            frames = self._perturb(frames, lengths)
        if self.projection is not None:
            frames = self.dropout(F.relu(self.projection(frames)))
        if self.stem is not None:
            frames, lengths = self.stem(frames, lengths)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            frames = self.dropout(norm(layer(frames, lengths)))
        # Layer norm has given the padding its bias; pooling expects zeros there.
        frames = mask_frames(frames, lengths)
        pooled = self.pooling(frames, lengths)
        for dense in self.head:
            pooled = self.dropout(F.relu(dense(pooled)))
        logits = self.classifier(pooled)

        loss = None
        if labels is not None:
            loss = self._loss(logits, labels)
            if share < 1:
                loss = share * loss + (1 - share) * self._loss(logits, labels[partner])
        return SequenceClassifierOutput(loss=loss, logits=logits)


__all__ = ["SpeechLSTMForAudioClassification"]
