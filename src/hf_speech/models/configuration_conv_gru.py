"""The configuration of `ConvGRUEncoder` and `ConvGRUForCTC`.

`strict` checks the type of each field when a configuration is created or loaded. It ignores annotations that are
strings, so this file must not use `from __future__ import annotations`.
"""

from typing import ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .config_ranges import LAYERS, SIZE, check_ranges
from .frontends import FRONT_ENDS, check_front_end

RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("input_size", "hop_length", "vocab_size", "channels", "hidden_size"), SIZE),
    "num_hidden_layers": LAYERS,
    "num_convolutions": (0, 64),
    "num_phones": (0, 65_536),
    "stem_channels": (0, 4_096),
    "kernel_size": (2, 255),
    "lookahead": (0, 1_024),
    "consistency_weight": (0, 100),
}


@strict
class ConvGRUConfig(PreTrainedConfig):
    """Configuration of a convolutional-recurrent speech recognizer with character output and CTC.

    Data flow: SpecAugment (training only), the convolutional front end, the recurrent layers, a lookahead convolution
    (causal models), a linear classifier.

    Args:
        input_size: Features of an input frame; the feature extractor's `feature_size`.
        hop_length: Samples from one input frame to the next; the same as the feature extractor's.
        num_deltas: Orders of deltas among the features (0, 1 or 2), which SpecAugment masks and warps like the features
            themselves; the feature extractor's `num_deltas`.
        vocab_size: Tokens, including the blank.
        frontend: An entry of `FRONT_ENDS`: "deepspeech2" (2-D convolutions, batch norm, clipped ReLU: arXiv
            1512.02595), "residual" (2-D convolution stem and residual blocks) or "subsampling" (strided
            depthwise-separable 1-D convolutions).
        subsampling: Factor by which "subsampling" shortens time, a power of two; "deepspeech2" and "residual" halve it.
        num_convolutions: Convolutions of "deepspeech2" (2 or 3), blocks of "residual", or unstrided depthwise
            convolutions with a skip that "subsampling" adds after the strided ones.
        channels: Channels of the front end's convolutions.
        stem_channels: Channels of the two 3 x 3 convolutions over time and frequency at the start of "subsampling",
            each of which halves the frequencies; 0 for one convolution over time that mixes all features.
        kernel_size: Kernel size of the convolutions of "subsampling", in frames.
        hidden_size: GRU units of each direction.
        num_hidden_layers: GRU layers.
        bidirectional: Whether each layer also reads the sequence backwards; such a model cannot stream.
        causal: Whether the front end uses no future frames; only a causal one-directional model can stream.
        lookahead: Future frames that a lookahead convolution (Wang et al. 2016) after the unidirectional layers uses; 0
            for none. It determines the latency of streaming.
        recurrent_norm: Normalization of the input of each GRU layer: "batch" (over all valid frames, as in Deep Speech
            2) or "layer".
        dropout: Dropout after each convolution block and GRU layer.
        num_time_masks: SpecAugment: time masks for each utterance.
        time_mask_width: SpecAugment: largest width of a time mask in frames.
        max_time_mask_ratio: SpecAugment: largest share of an utterance that one time mask may cover.
        num_frequency_masks: SpecAugment: frequency masks for each utterance.
        frequency_mask_width: SpecAugment: largest width of a frequency mask in features.
        frequency_warp: In training, the frequency axis of each utterance is scaled by a random factor between 1 minus
            and 1 plus this value, which imitates other vocal tract lengths (Jaitly & Hinton 2013); 0 for none. For
            features that are ordered by frequency: mel filters and spectra.
        consistency_weight: Weight of the consistency loss (CR-CTC: Yao et al., arXiv 2410.05101, who use 0.2). In
            training, each utterance is processed twice, with different masks and dropout, and the two outputs are
            compared, so each step costs twice as much. 0 for none.
        intermediate_ctc_weight: Share of the loss that an intermediate recurrent layer contributes, a regularizer for
            small corpora (Lee & Watanabe, arXiv 2102.03216); 0 for none. The layer predicts the same tokens with the
            same classifier, or phones.
        intermediate_layer: The number of that recurrent layer, counted from 1; 0 for the middle one (the later of two).
            Choose the last one if the decoder relies on the phones more than on the tokens.
        num_phones: Number of phones, including the blank, that the intermediate layer predicts with its own classifier
            if the recipe has a lexicon (Sanabria & Metze, arXiv 1807.07104); 0 for none. A decoder with a pronunciation
            lexicon can use them as well.
        ctc_zero_infinity: Whether an utterance too short for its transcript contributes a loss of zero instead of
            infinity.
        pad_token_id: Id of the CTC blank.

    Attributes:
        stride: Input frames per logit frame.
        inputs_to_logits_ratio: Samples per logit frame, which transformers' pipeline reads.
    """

    model_type = "conv_gru"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["phone_logits"]  # by Trainer

    input_size: int = 80
    hop_length: int = 160
    num_deltas: Literal[0, 1, 2] = 0
    vocab_size: int = 32
    frontend: str = "subsampling"
    subsampling: Literal[2, 4, 8] = 4
    num_convolutions: int = 2
    channels: int = 256
    stem_channels: int = 0
    kernel_size: int = 5
    hidden_size: int = 256
    num_hidden_layers: int = 3
    bidirectional: bool = True
    causal: bool = False
    lookahead: int = 0
    recurrent_norm: Literal["batch", "layer"] = "layer"
    dropout: float | int = 0.1
    num_time_masks: int = 0
    time_mask_width: int = 40
    max_time_mask_ratio: float | int = 0.2
    num_frequency_masks: int = 0
    frequency_mask_width: int = 20
    frequency_warp: float | int = 0.0
    consistency_weight: float | int = 0.0
    intermediate_ctc_weight: float | int = 0.0
    intermediate_layer: int = 0
    num_phones: int = 0
    ctc_zero_infinity: bool = True
    pad_token_id: int | None = 0

    @property
    def frontend_name(self) -> str:
        """The model's entry of `FRONT_ENDS`."""
        return self.frontend

    @property
    def stride(self) -> int:
        """Input frames per logit frame."""
        return FRONT_ENDS[self.frontend].stride(self)

    @property
    def inputs_to_logits_ratio(self) -> int:
        """Samples per logit frame."""
        return self.hop_length * self.stride

    def validate_sizes(self) -> None:
        """Raises a ValueError for impossible values; `strict` calls it when a configuration is created or loaded."""
        check_front_end(self.frontend, self, round_up=False)
        check_ranges(self, RANGES, below_one=("dropout", "intermediate_ctc_weight", "frequency_warp"))
        if self.pad_token_id is None or not 0 <= self.pad_token_id < self.vocab_size:
            raise ValueError(
                f"pad_token_id, the blank, must be one of the {self.vocab_size} tokens, and {self.pad_token_id} is not."
            )
        if self.frontend == "deepspeech2" and self.num_convolutions not in (2, 3):
            raise ValueError(f"deepspeech2 has 2 or 3 convolutions, not {self.num_convolutions}.")
        if self.input_size % (self.num_deltas + 1):
            raise ValueError(
                f"input_size must be a multiple of {self.num_deltas + 1} for features with {self.num_deltas} deltas, "
                f"and {self.input_size} is not."
            )
        if self.stem_channels and self.num_deltas:
            raise ValueError(
                "The convolutions of stem_channels move over frequencies, which deltas are not: use features without "
                "deltas, or stem_channels 0."
            )
        if self.lookahead and self.bidirectional:
            raise ValueError(
                f"lookahead must be 0, not {self.lookahead}, for a bidirectional model, which uses the whole recording."
            )
        if self.causal and self.bidirectional:
            raise ValueError("causal and bidirectional contradict each other: choose one.")
        if self.intermediate_ctc_weight and self.num_hidden_layers < 2:
            raise ValueError("intermediate_ctc_weight needs at least 2 recurrent layers: set it to 0, or add layers.")
        if not 0 <= self.intermediate_layer <= self.num_hidden_layers:
            raise ValueError(
                f"intermediate_layer must be one of the {self.num_hidden_layers} recurrent layers, or 0 for the middle "
                f"one, and {self.intermediate_layer} is not."
            )


__all__ = ["ConvGRUConfig"]
