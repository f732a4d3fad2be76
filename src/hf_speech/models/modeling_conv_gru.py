"""A speech recognizer of convolutions and gated recurrent units, trained with CTC.

One class for the family that began with Deep Speech 2: `conv_frontends.py` has the three ways from features to frames,
`recurrent.py` the padding-blind recurrence. A clip gets the same logits alone and in any batch, frames beyond its end
say "blank", and a causal model gives the same logits when it hears the sound in pieces (`streaming_transcriber.py`).

CTC: Graves et al. 2006. Batch-normed recurrence: Deep Speech 2 (arXiv 1512.02595). Row convolution: Wang et al. 2016.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import CausalLMOutput
from transformers.utils.generic import can_return_tuple

from .configuration_conv_gru import ConvGRUConfig
from .conv_frontends import FRONT_ENDS
from .convolutions import MaskedBatchNorm, mask_frames
from .recurrent import RecurrentLayer, frame_mask, initialize_recurrence, valid_lengths
from .spec_augment import spec_augment_by_config
from .streaming_transcriber import StreamingTranscriber

# The logit of everything but the blank on a padded frame: softmax makes it 0 in float32, bfloat16 and float16 alike.
IMPOSSIBLE = -1e4


@dataclass
class RecogniserOutput(CausalLMOutput):
    """What a recognizer says.

    Attributes:
        loss: The loss, if there were labels.
        logits: Of the tokens, `(batch, frames, vocab_size)`.
        phone_logits: Of the phones, `(batch, frames, num_phones)`, by a model that learned them, while not in training.
    """

    phone_logits: torch.Tensor | None = None


class RecurrentBlock(GradientCheckpointingLayer):
    """Normalization, a GRU layer, dropout.

    The normalization stands before the recurrence's input only, never inside its loop (Deep Speech 2, equation 8, with
    the norm moved before the input weights, so that the recurrence stays one fused call).
    """

    def __init__(self, input_size: int, config: ConvGRUConfig) -> None:
        super().__init__()
        self.norm = MaskedBatchNorm(input_size) if config.recurrent_norm == "batch" else nn.LayerNorm(input_size)
        self.recurrence = RecurrentLayer("gru", input_size, config.hidden_size, config.bidirectional)
        self.dropout = nn.Dropout(config.dropout)
        self.output_size = self.recurrence.output_size

    def normalize(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Normalizes `(batch, frames, input_size)`."""
        return self.norm(frames, lengths) if isinstance(self.norm, MaskedBatchNorm) else self.norm(frames)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Maps `(batch, frames, input_size)` to `(batch, frames, output_size)`; padded frames are zero."""
        return self.dropout(self.recurrence(self.normalize(frames, lengths), lengths))


class Lookahead(nn.Module):
    """Row convolution: each unit sees its own next `lookahead` frames (Wang et al. 2016), then a ReLU.

    Args:
        size: Units of a frame.
        lookahead: Frames of the future.
    """

    def __init__(self, size: int, lookahead: int) -> None:
        super().__init__()
        self.lookahead = lookahead
        self.convolution = nn.Conv1d(size, size, lookahead + 1, groups=size)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Maps `(batch, frames, size)` to the same shape; beyond a clip's end the future is silent (zero)."""
        padded = F.pad(mask_frames(frames, lengths).mT, (0, self.lookahead))
        return F.relu(self.convolution(padded).mT)


class ConvGRUForCTC(PreTrainedModel):
    """Convolutional front end, GRU layers and a linear classifier, trained with CTC; see `ConvGRUConfig`.

    Its input comes from `SpeechFeatureExtractor`; `pipeline("automatic-speech-recognition")` runs both.
    """

    config_class = ConvGRUConfig
    base_model_prefix = "conv_gru"
    main_input_name = "input_features"
    supports_gradient_checkpointing = True
    # The loss is a mean over the batch: Trainer must divide it by the accumulation steps itself.
    accepts_loss_kwargs = False

    def __init__(self, config: ConvGRUConfig) -> None:
        super().__init__(config)
        self.frontend: Any = FRONT_ENDS[config.frontend](config)
        size: int = self.frontend.output_size
        self.layers = nn.ModuleList()
        for _ in range(config.num_hidden_layers):
            layer = RecurrentBlock(size, config)
            self.layers.append(layer)
            size = layer.output_size
        self.lookahead = Lookahead(size, config.lookahead) if config.lookahead else None
        self.norm = nn.LayerNorm(size)
        self.intermediate_norm = nn.LayerNorm(size) if config.intermediate_ctc_weight else None
        self.classifier = nn.Linear(size, config.vocab_size)
        self.phone_classifier = nn.Linear(size, config.num_phones) if config.num_phones else None
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.GRU):
            initialize_recurrence(module)
        elif isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            init.kaiming_uniform_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    @property
    def can_stream(self) -> bool:
        """Whether the model gives the same logits when it hears the sound in pieces."""
        return self.config.causal and not self.config.bidirectional

    def stream(self, feature_extractor: Any, tokenizer: Any = None) -> StreamingTranscriber:
        """A transcriber that hears sound in pieces; see `StreamingTranscriber`."""
        return StreamingTranscriber(self, feature_extractor, tokenizer)

    def num_logit_frames(self, num_frames: torch.Tensor | int) -> torch.Tensor | int:
        """Logit frames that so many feature frames give."""
        return num_frames // self.config.stride

    def _encode(self, frames: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The outputs of all recurrent layers and of the middle one, `(batch, frames, size)`, of the front end's."""
        middle = frames
        for index, layer in enumerate(self.layers):
            frames = layer(frames, lengths)
            if index + 1 == (len(self.layers) + 1) // 2:
                middle = frames
        if self.lookahead is not None:
            frames = self.lookahead(frames, lengths)
        return frames, middle

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        phone_labels: torch.Tensor | None = None,
    ) -> RecogniserOutput:
        """Recognizes a batch of utterances.

        Args:
            input_features: `(batch, frames, features)`, padded on the right.
            attention_mask: `(batch, frames)`, one where a frame is valid; all of them without it.
            labels: Token ids `(batch, tokens)`, padded with -100; given, the CTC loss is computed.
            phone_labels: Phone ids `(batch, phones)`, padded with -100, for the middle layer of a model that has them;
                of no use but while training.

        Returns:
            `logits` `(batch, frames // stride, vocab_size)`, and of a model with phones `phone_logits` `(batch,
            frames // stride, num_phones)`, in which padded frames are certainly blank, and, with labels, the scalar
            `loss`: the mean over utterances of the negative log-likelihood of a token.

        Raises:
            ValueError: If a frame has another number of features than the model was built for, or shapes disagree.
        """
        lengths = valid_lengths(input_features, attention_mask, self.config.input_size)
        features = mask_frames(input_features, lengths)
        two_views = self.training and labels is not None and self.config.consistency_weight > 0
        if two_views and labels is not None:
            features, lengths, labels = features.repeat(2, 1, 1), lengths.repeat(2), labels.repeat(2, 1)
            phone_labels = None if phone_labels is None else phone_labels.repeat(2, 1)
        if self.training:
            features = spec_augment_by_config(features, lengths, self.config)
        num_logits = self.num_logit_frames(features.shape[1])
        if num_logits == 0:  # Too short for a single logit: one frame is computed, and none returned.
            features = F.pad(features, (0, 0, 0, self.config.stride - features.shape[1]))
        frames, logit_lengths = self.frontend(features, lengths)
        last, middle = self._encode(frames, logit_lengths)
        logits = self.classifier(self.norm(last))[:, :num_logits]
        logits = _blank_beyond(logits, logit_lengths, int(self.config.pad_token_id or 0))
        phone_logits = None
        if self.phone_classifier is not None and self.intermediate_norm is not None:
            phone_logits = self.phone_classifier(self.intermediate_norm(middle))[:, :num_logits]
        loss = None
        if labels is not None:
            loss = self._loss(logits, logit_lengths, labels)
            if self.intermediate_norm is not None and self.training:
                weight = self.config.intermediate_ctc_weight
                if phone_logits is not None and phone_labels is not None:
                    middle_logits, targets = phone_logits, phone_labels
                else:
                    middle_logits, targets = self.classifier(self.intermediate_norm(middle))[:, :num_logits], labels
                loss = (1 - weight) * loss + weight * self._loss(middle_logits, logit_lengths, targets)
            if two_views:
                loss = loss + self.config.consistency_weight * self._disagreement(logits, labels)
                logits = logits[: input_features.shape[0]]
        if phone_logits is not None:
            phone_logits = None if self.training else _blank_beyond(phone_logits, logit_lengths, 0)
        return RecogniserOutput(loss=loss, logits=logits, phone_logits=phone_logits)

    def _loss(self, logits: torch.Tensor, logit_lengths: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """CTC in float32, whatever the model computes in."""
        if logits.shape[1] == 0:
            return logits.sum()
        valid = labels >= 0
        with torch.autocast(logits.device.type, enabled=False):
            return F.ctc_loss(
                logits.float().log_softmax(dim=-1).transpose(0, 1),
                labels[valid],
                logit_lengths,
                valid.sum(dim=1),
                blank=self.config.pad_token_id,
                zero_infinity=self.config.ctc_zero_infinity,
            )

    @staticmethod
    def _disagreement(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """How far two views of the same utterances, one batch behind the other, disagree about the frames.

        The Kullback-Leibler divergence of each view from the other, which is held fixed, summed over frames (padded
        ones agree) and, as the CTC loss beside it, divided by the number of tokens (arXiv 2410.05101, equation 5).
        """
        log_probabilities = logits.float().log_softmax(dim=-1)
        other = log_probabilities.detach().roll(logits.shape[0] // 2, dims=0)
        divergence = F.kl_div(log_probabilities, other, reduction="none", log_target=True).sum(dim=(1, 2))
        return (divergence / (labels >= 0).sum(dim=1).clamp(min=1)).mean()


def _blank_beyond(logits: torch.Tensor, lengths: torch.Tensor, blank: int) -> torch.Tensor:
    """Logits `(batch, frames, classes)` that say nothing but blank beyond the end of each clip."""
    padding = ~frame_mask(lengths, logits.shape[1])[:, :, None]
    is_blank = torch.arange(logits.shape[2], device=logits.device) == blank
    return torch.where(padding, torch.where(is_blank, 0.0, IMPOSSIBLE).to(logits.dtype), logits)


__all__ = ["ConvGRUForCTC"]
