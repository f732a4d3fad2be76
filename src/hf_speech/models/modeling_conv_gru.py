"""A speech recognizer of convolutions and gated recurrent units, trained with CTC.

Its front ends are defined in `frontends.py`, its recurrent layers in `recurrent.py`. A clip has the same logits alone
and in any batch, frames beyond its end predict the blank, and a causal model computes the same logits when its input
arrives in pieces (`streaming_transcriber.py`). `ConvGRUEncoder` is the model without its classifiers.

CTC: Graves et al. 2006. Batch-normalized recurrence: Deep Speech 2 (arXiv 1512.02595). Row convolution: Wang et al.
    2016.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput
from transformers.utils.generic import can_return_tuple

from .configuration_conv_gru import ConvGRUConfig
from .convolutions import MaskedBatchNorm, mask_frames
from .frontends import FRONT_ENDS
from .recurrent import Dropout, RecurrentLayer, frame_mask, initialize_recurrence, valid_lengths
from .spec_augment import spec_augment_by_config
from .speech_model import SpeechPreTrainedModel
from .streaming_transcriber import StreamingTranscriber

# The logit of all tokens but the blank on a padded frame; its softmax is 0 in float32, bfloat16 and float16.
IMPOSSIBLE = -1e4


@dataclass
class RecognizerOutput(CausalLMOutput):
    """The output of a recognizer.

    Attributes:
        loss: The loss, if labels were given.
        logits: Logits of the tokens, `(batch, frames, vocab_size)`.
        hidden_states: As `ConvGRUEncoder` returns them, if requested.
        phone_logits: Logits of the phones, `(batch, frames, num_phones)`, if the model predicts phones; None in
            training.
    """

    phone_logits: torch.Tensor | None = None


class RecurrentBlock(nn.Module):
    """Normalization, a GRU layer, dropout.

    Only the input of the recurrence is normalized (Deep Speech 2, equation 8). The norm comes before the input weights,
    so that the recurrence remains one fused call.
    """

    def __init__(self, input_size: int, config: ConvGRUConfig) -> None:
        super().__init__()
        self.norm = MaskedBatchNorm(input_size) if config.recurrent_norm == "batch" else nn.LayerNorm(input_size)
        self.recurrence = RecurrentLayer("gru", input_size, config.hidden_size, config.bidirectional)
        self.dropout = Dropout(config.dropout)
        self.output_size = self.recurrence.output_size

    def normalize(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Normalizes `(batch, frames, input_size)`."""
        return self.norm(frames, lengths) if isinstance(self.norm, MaskedBatchNorm) else self.norm(frames)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Maps `(batch, frames, input_size)` to `(batch, frames, output_size)`; padded frames are zero."""
        return self.dropout(self.recurrence(self.normalize(frames, lengths), lengths))


class Lookahead(nn.Module):
    """Row convolution over the next `lookahead` frames of each unit (Wang et al. 2016), followed by a ReLU.

    Args:
        size: Units of a frame.
        lookahead: Future frames.
    """

    def __init__(self, size: int, lookahead: int) -> None:
        super().__init__()
        self.lookahead = lookahead
        self.convolution = nn.Conv1d(size, size, lookahead + 1, groups=size)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Maps `(batch, frames, size)` to the same shape; frames beyond a clip's end count as zeros."""
        padded = F.pad(mask_frames(frames, lengths).mT, (0, self.lookahead))
        return F.relu(self.convolution(padded).mT)


class ConvGRUPreTrainedModel(SpeechPreTrainedModel):
    """Front end, GRU layers, lookahead and final norm, which the encoder and the recognizer share."""

    config_class = ConvGRUConfig
    base_model_prefix = "conv_gru"
    encoder_class = "ConvGRUEncoder"

    def __init__(self, config: ConvGRUConfig) -> None:
        super().__init__(config)
        self.frontend: Any = FRONT_ENDS[config.frontend].module(config, config.input_size)
        size: int = self.frontend.output_size
        self.layers = nn.ModuleList()
        for _ in range(config.num_hidden_layers):
            layer = RecurrentBlock(size, config)
            self.layers.append(layer)
            size = layer.output_size
        self.lookahead = Lookahead(size, config.lookahead) if config.lookahead else None
        self.norm = nn.LayerNorm(size)

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

    def get_input_embeddings(self) -> nn.Module:
        """The module that reads the input: the front end."""
        module: nn.Module = self.frontend
        return module

    def num_logit_frames(self, num_frames: torch.Tensor | int) -> torch.Tensor | int:
        """Returns the number of logit frames for a number of feature frames."""
        return num_frames // self.config.stride

    def encode(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Runs all layers.

        Args:
            features: `(batch, frames, features)`; padded frames are zero.
            lengths: Valid frames of each clip, `(batch,)`.

        Returns:
            The hidden states `(batch, frames // stride, size)`: the outputs of the front end, of each recurrent layer
            but the last, and of the whole encoder, which is zero on padded frames; and the valid frames of each clip.
        """
        num_frames = int(self.num_logit_frames(features.shape[1]))
        if num_frames == 0:  # Too short for a single frame: compute one, and return none.
            features = F.pad(features, (0, 0, 0, self.config.stride - features.shape[1]))
        frames, lengths = self.frontend(features, lengths)
        states = [frames]
        for layer in self.layers:
            frames = layer(frames, lengths)
            states.append(frames)
        if self.lookahead is not None:
            frames = self.lookahead(frames, lengths)
        states[-1] = mask_frames(self.norm(frames), lengths)
        return [state[:, :num_frames] for state in states], lengths


class ConvGRUEncoder(ConvGRUPreTrainedModel):
    """`ConvGRUForCTC` without its classifiers; see `ConvGRUConfig`."""

    _keys_to_ignore_on_load_unexpected = [r"^(classifier|phone_classifier|intermediate_norm)\."]  # noqa: RUF012

    def __init__(self, config: ConvGRUConfig) -> None:
        super().__init__(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutput:
        """Encodes a batch of utterances; see `ConvGRUForCTC.forward` for the arguments.

        Returns:
            `last_hidden_state` `(batch, frames // stride, size)`, zero on padded frames, and, if requested,
            `hidden_states`: the outputs of the front end and of each recurrent layer.
        """
        lengths = valid_lengths(input_features, attention_mask, self.config.input_size)
        states, _ = self.encode(mask_frames(input_features, lengths), lengths)
        hidden_states = self.select_hidden_states(states, output_hidden_states)
        return BaseModelOutput(last_hidden_state=states[-1], hidden_states=hidden_states)


class ConvGRUForCTC(ConvGRUPreTrainedModel):
    """Convolutional front end, GRU layers and a linear classifier, trained with CTC; see `ConvGRUConfig`.

    `SpeechFeatureExtractor` computes its input; `pipeline("automatic-speech-recognition")` runs both.
    """

    def __init__(self, config: ConvGRUConfig) -> None:
        super().__init__(config)
        size = self.norm.normalized_shape[0]
        self.intermediate_norm = nn.LayerNorm(size) if config.intermediate_ctc_weight else None
        self.classifier = nn.Linear(size, config.vocab_size)
        self.phone_classifier = nn.Linear(size, config.num_phones) if config.num_phones else None
        self.post_init()

    @property
    def can_stream(self) -> bool:
        """Whether the model can compute the logits of a recording from pieces of it."""
        config = self.config
        return config.causal and not config.bidirectional and FRONT_ENDS[config.frontend].streams

    def stream(self, feature_extractor: Any, tokenizer: Any = None) -> StreamingTranscriber:
        """Returns a transcriber that takes sound in pieces; see `StreamingTranscriber`."""
        return StreamingTranscriber(self, feature_extractor, tokenizer)

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        phone_targets: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
    ) -> RecognizerOutput:
        """Recognizes a batch of utterances.

        Args:
            input_features: `(batch, frames, features)`, padded on the right.
            attention_mask: `(batch, frames)`, one where a frame is valid; None if all are.
            labels: Token ids `(batch, tokens)`, padded with -100; if given, the CTC loss is computed.
            phone_targets: Phone ids `(batch, phones)`, padded with -100, for a model that predicts phones; only used
                in training. (Trainer would require every batch to have an argument named labels.)
            output_hidden_states: Whether to return `hidden_states`; None for the configuration's setting.

        Returns:
            `logits` `(batch, frames // stride, vocab_size)`; `phone_logits` `(batch, frames // stride, num_phones)` if
            the model predicts phones; in both, padded frames are blank with probability 1. With labels, also the scalar
            `loss`: the mean over utterances of the negative log-likelihood per token.

        Raises:
            ValueError: If the number of features is not that of the model, or shapes disagree.
        """
        lengths = valid_lengths(input_features, attention_mask, self.config.input_size)
        features = mask_frames(input_features, lengths)
        two_views = self.training and labels is not None and self.config.consistency_weight > 0
        if two_views and labels is not None:
            features, lengths, labels = features.repeat(2, 1, 1), lengths.repeat(2), labels.repeat(2, 1)
            phone_targets = None if phone_targets is None else phone_targets.repeat(2, 1)
        if self.training:
            features = spec_augment_by_config(features, lengths, self.config)
        states, logit_lengths = self.encode(features, lengths)
        intermediate = states[self.config.intermediate_layer or (len(self.layers) + 1) // 2]
        logits = _blank_beyond(self.classifier(states[-1]), logit_lengths, int(self.config.pad_token_id or 0))
        phone_logits = None
        if self.phone_classifier is not None and self.intermediate_norm is not None:
            phone_logits = self.phone_classifier(self.intermediate_norm(intermediate))
        loss = None
        if labels is not None:
            loss = self._loss(logits, logit_lengths, labels)
            if self.intermediate_norm is not None and self.training:
                weight = self.config.intermediate_ctc_weight
                if phone_logits is not None and phone_targets is not None:
                    intermediate_logits, targets = phone_logits, phone_targets
                else:
                    intermediate_logits, targets = self.classifier(self.intermediate_norm(intermediate)), labels
                loss = (1 - weight) * loss + weight * self._loss(intermediate_logits, logit_lengths, targets)
            if two_views:
                loss = loss + self.config.consistency_weight * self._disagreement(logits, labels)
                logits, states = logits[: len(input_features)], [state[: len(input_features)] for state in states]
        if phone_logits is not None:
            phone_logits = None if self.training else _blank_beyond(phone_logits, logit_lengths, 0)
        hidden_states = self.select_hidden_states(states, output_hidden_states)
        return RecognizerOutput(loss=loss, logits=logits, phone_logits=phone_logits, hidden_states=hidden_states)

    def _loss(self, logits: torch.Tensor, logit_lengths: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Computes the CTC loss in float32, whatever the dtype of the model."""
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
        """Computes the consistency loss of two views of the same utterances, stacked along the batch.

        This is the Kullback-Leibler divergence of each view from the other (without gradient), summed over frames and,
        like the CTC loss, divided by the number of tokens (arXiv 2410.05101, equation 5).
        """
        log_probabilities = logits.float().log_softmax(dim=-1)
        other = log_probabilities.detach().roll(logits.shape[0] // 2, dims=0)
        divergence = F.kl_div(log_probabilities, other, reduction="none", log_target=True).sum(dim=(1, 2))
        return (divergence / (labels >= 0).sum(dim=1).clamp(min=1)).mean()


def _blank_beyond(logits: torch.Tensor, lengths: torch.Tensor, blank: int) -> torch.Tensor:
    """Replaces logits `(batch, frames, classes)` beyond the end of each clip by those of a certain blank."""
    padding = ~frame_mask(lengths, logits.shape[1])[:, :, None]
    is_blank = torch.arange(logits.shape[2], device=logits.device) == blank
    return torch.where(padding, torch.where(is_blank, 0.0, IMPOSSIBLE).to(logits.dtype), logits)


__all__ = ["ConvGRUEncoder", "ConvGRUForCTC"]
