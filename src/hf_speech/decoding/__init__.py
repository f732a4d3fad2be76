"""Decodes log probabilities to text: greedily, by beam search with a language model, or aligned to a given text.

The functions are model-agnostic: they take log probabilities `(frames, tokens)` and the strings of the tokens. The
result, a `Hypothesis`, has words with times, which `make_cues` converts to subtitles. Long recordings are cut at
pauses. All scores are natural logarithms.
"""

from hf_speech.decoding.alignment import align, align_text, min_frames
from hf_speech.decoding.beam import BeamSearchDecoder
from hf_speech.decoding.estimation import NgramSummary, build_arpa
from hf_speech.decoding.greedy import best_path, collapse, greedy_decode
from hf_speech.decoding.hypothesis import Hypothesis, TokenSpan, Word
from hf_speech.decoding.keywords import Event, KeywordDecoder, KeywordScores, find_peaks
from hf_speech.decoding.ngram import NgramModel, characters
from hf_speech.decoding.pauses import cut_at_pauses, join_pieces
from hf_speech.decoding.phones import phone_scores
from hf_speech.decoding.subtitles import Cue, make_cues, to_json, to_srt, to_vtt
from hf_speech.decoding.tuning import Trial, Tuning, tune_decoder

__all__ = [
    "BeamSearchDecoder",
    "Cue",
    "Event",
    "Hypothesis",
    "KeywordDecoder",
    "KeywordScores",
    "NgramModel",
    "NgramSummary",
    "TokenSpan",
    "Trial",
    "Tuning",
    "Word",
    "align",
    "align_text",
    "best_path",
    "build_arpa",
    "characters",
    "collapse",
    "cut_at_pauses",
    "find_peaks",
    "greedy_decode",
    "join_pieces",
    "make_cues",
    "min_frames",
    "phone_scores",
    "to_json",
    "to_srt",
    "to_vtt",
    "tune_decoder",
]
