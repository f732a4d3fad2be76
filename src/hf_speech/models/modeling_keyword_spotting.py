"""A keyword spotter: the recognizer with one token per keyword, and the blank for everything else.

It is trained with the CTC loss. For a clip with a keyword, CTC maximizes the probability that this keyword is detected
once, anywhere in the clip, and nothing else; for a clip without one, that nothing is detected at any frame. Clips need
no time stamps, and a causal model learns to report a keyword soon after its end, where training clips end.

Given a class for each frame instead of one for each clip, the same model learns to detect voice activity.

In training, several clips of a batch are concatenated, and each has a loss at its own frames. A model that was trained
on single clips detects a keyword in a clip, but misses it in a stream that started long ago.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers.utils.generic import can_return_tuple

from .modeling_conv_gru import ConvGRUEncoder, ConvGRUForCTC, RecognizerOutput
from .recurrent import frame_mask, valid_lengths

CLIPS_IN_A_ROW = 8


class ConvGRUForKeywordSpotting(ConvGRUForCTC):
    """Computes the logits of all keywords for each frame of a stream; see `ConvGRUConfig`.

    Class 0, the CTC blank, stands for everything but keywords.
    """

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
    ) -> RecognizerOutput:
        """Computes the logits of a batch of clips.

        Args:
            input_features: `(batch, frames, features)`, padded on the right.
            attention_mask: `(batch, frames)`, one where a frame is valid; None if all are.
            labels: The class of each clip `(batch,)`, 0 for one without a keyword; or the class of each input frame
                `(batch, frames)`, padded with -100. If given, the loss is computed.
            output_hidden_states: Whether to return `hidden_states`; None for the configuration's setting.

        Returns:
            `logits` `(batch, frames // stride, classes)`, in which padded frames have class 0, and, with labels, the
            scalar `loss`.

        Raises:
            ValueError: If the number of features is not that of the model, or shapes disagree.
        """
        if labels is not None and labels.dim() == 2:
            return self._classify_frames(input_features, attention_mask, labels, output_hidden_states)
        tokens = None if labels is None else labels.masked_fill(labels == self.config.pad_token_id, -100)[:, None]
        if not self.training or tokens is None:
            unjoined: RecognizerOutput = super().forward(
                input_features, attention_mask, tokens, output_hidden_states=output_hidden_states
            )
            return unjoined
        lengths = valid_lengths(input_features, attention_mask, self.config.input_size)
        rows, mask, frames = join_clips(input_features, lengths, self.config.stride, CLIPS_IN_A_ROW)
        output: RecognizerOutput = super().forward(rows, mask, output_hidden_states=output_hidden_states)
        logits = output.logits[frame_mask(mask.sum(dim=1) // self.config.stride, output.logits.shape[1])]
        clips = pad_sequence(list(logits.split(frames.tolist())), batch_first=True)
        output.loss, output.logits = self._loss(clips, frames, tokens), clips
        return output

    def _classify_frames(
        self,
        features: torch.Tensor,
        attention_mask: torch.Tensor | None,
        labels: torch.Tensor,
        output_hidden_states: bool | None,
    ) -> RecognizerOutput:
        """Computes logits, and their cross-entropy with the label of the input frame in the middle of each."""
        output: RecognizerOutput = super().forward(features, attention_mask, output_hidden_states=output_hidden_states)
        count, stride = output.logits.shape[1], self.config.stride
        labels = F.pad(labels[:, stride // 2 :: stride][:, :count], (0, count), value=-100)[:, :count]
        frames = valid_lengths(features, attention_mask, self.config.input_size) // stride
        labels = labels.masked_fill(~frame_mask(frames, count), -100)
        output.loss = F.cross_entropy(output.logits.mT, labels, ignore_index=-100)
        return output


def join_clips(
    features: torch.Tensor, lengths: torch.Tensor, stride: int, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Concatenates every `count` clips of a batch.

    Args:
        features: `(batch, frames, features)`, padded on the right.
        lengths: Valid frames of each clip, `(batch,)`.
        stride: Frames per logit; clips are cut to a multiple, so that no logit belongs to two clips.
        count: Clips per row; the last row may have fewer.

    Returns:
        Features `(rows, frames, features)`, their mask `(rows, frames)`, and the number of logits of each clip,
        `(batch,)`.
    """
    frames = lengths // stride
    clips = [clip[: stride * length] for clip, length in zip(features, frames.tolist(), strict=True)]
    rows = [torch.cat(clips[first : first + count]) for first in range(0, len(clips), count)]
    joined = pad_sequence(rows, batch_first=True)
    return joined, frame_mask(lengths.new_tensor([len(row) for row in rows]), joined.shape[1]), frames


# `AutoModel` looks for the encoder in the file of the model that was saved.
__all__ = ["ConvGRUEncoder", "ConvGRUForKeywordSpotting"]
