"""A keyword spotter: the recognizer with one token a keyword, and the blank for everything else.

The CTC loss of a clip with a keyword is the probability that the keyword is detected once, anywhere in the clip, and
nothing else; that of a clip without one, that nothing is detected at any of its frames. So a clip needs no times,
features, encoder, streaming and export are those of the recognizer, and a causal model learns to report a keyword soon
after its end, as training clips end there.

In training, every few clips of a batch are joined: a model that has never met a second keyword after the first one
reports the first of a stream, and no other.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from .modeling_conv_gru import ConvGRUEncoder, ConvGRUForCTC, RecognizerOutput
from .recurrent import frame_mask, valid_lengths

CLIPS_IN_A_ROW = 3


class ConvGRUForKeywordSpotting(ConvGRUForCTC):
    """Finds keywords in a stream: logits of all classes for every frame; see `ConvGRUConfig`.

    Class 0, the CTC blank, is everything that is no keyword.
    """

    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> RecognizerOutput:
        """Scores the frames of a batch of clips.

        Args:
            input_features: `(batch, frames, features)`, padded on the right.
            attention_mask: `(batch, frames)`, one where a frame is valid; all of them without it.
            labels: The class of each clip `(batch,)`, 0 for one without a keyword; given, the loss is computed.
            output_hidden_states: Whether to return `hidden_states`; None for the configuration's setting.
            return_dict: False for a tuple.

        Returns:
            `logits` `(batch, frames // stride, classes)`, in which padded frames are certainly no keyword, and, with
            labels, the scalar `loss`.

        Raises:
            ValueError: If a frame has another number of features than the model was built for, or shapes disagree.
        """
        tokens = None if labels is None else labels.masked_fill(labels == self.config.pad_token_id, -100)[:, None]
        if self.training and tokens is not None:
            lengths = valid_lengths(input_features, attention_mask, self.config.input_size)
            input_features, attention_mask, tokens = join_clips(input_features, lengths, tokens)
        output: RecognizerOutput = super().forward(
            input_features,
            attention_mask,
            tokens,
            output_hidden_states=output_hidden_states,
            return_dict=return_dict,
        )
        return output


def join_clips(
    features: torch.Tensor, lengths: torch.Tensor, tokens: torch.Tensor, count: int = CLIPS_IN_A_ROW
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Lays every `count` clips of a batch one behind the other.

    Args:
        features: `(batch, frames, features)`, padded on the right.
        lengths: Valid frames of each clip, `(batch,)`.
        tokens: The token of each clip, `(batch, 1)`, -100 for none.
        count: Clips to join; the last ones may be fewer.

    Returns:
        Features `(rows, frames, features)`, their mask `(rows, frames)`, and tokens `(rows, count)`.
    """
    clips = [clip[:length] for clip, length in zip(features, lengths.tolist(), strict=True)]
    rows = [torch.cat(clips[first : first + count]) for first in range(0, len(clips), count)]
    joined = pad_sequence(rows, batch_first=True)
    mask = frame_mask(lengths.new_tensor([len(row) for row in rows]), joined.shape[1])
    return joined, mask, F.pad(tokens, (0, 0, 0, -len(tokens) % count), value=-100).view(-1, count)


# `AutoModel` looks for the encoder in the file of the model that was saved.
__all__ = ["ConvGRUEncoder", "ConvGRUForKeywordSpotting"]
