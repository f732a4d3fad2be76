"""The model of the Space: whole recordings to words, and a microphone to text while it is heard.

A long recording is heard as hf_speech does: in chunks that overlap, of which only the middle is believed, normalized by
what is loud in all of it, and decoded from pause to pause. A causal model also listens live, exactly: what it says of
the pieces is what it says of the whole.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer
from transformers.utils import logging

from decoding import DELIMITER, BeamSearch, Word, best_path, cut_at_pauses
from sound import SoundError, is_silent, to_mono

# What is longer is normalized as a recording, not as an utterance, and cut at its pauses.
LONG_SECONDS = 20.0
CHUNK_SECONDS, OVERLAP_SECONDS = 60.0, 10.0
# A second is loud if it is at most so much quieter than the fifth loudest; the loudest may be a slammed door.
_LOUD_DECIBELS, _MEASURE = 20.0, 5


class Recognizer:
    """A CTC model with its feature extractor, tokenizer and, if its folder has one, language model.

    Args:
        folder: The model's folder; the code in it is run.
    """

    def __init__(self, folder: Path) -> None:
        logging.disable_progress_bar()
        torch.set_num_threads(1)
        options: dict[str, Any] = {"trust_remote_code": True}
        self.model = AutoModelForCTC.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, **options
        ).eval()
        self.extractor = AutoFeatureExtractor.from_pretrained(folder, **options)
        self.tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        self.rate = int(self.extractor.sampling_rate)
        self._ratio = int(self.model.config.inputs_to_logits_ratio)
        self._tokens = list(self.tokenizer.convert_ids_to_tokens(range(self.model.config.vocab_size)))
        self._blank = int(self.model.config.pad_token_id)
        self._search = self._open_language_model(folder / "language_model.arpa", folder / "lexicon.txt")
        noise = np.random.default_rng(0).normal(0, 0.1, self.rate).astype(np.float32)
        self.words(noise, False)  # The first visitor should not wait longer.

    @property
    def has_language_model(self) -> bool:
        """Whether decoding with a language model can be chosen."""
        return self._search is not None

    @property
    def can_stream(self) -> bool:
        """Whether the model can listen live."""
        return bool(getattr(self.model, "can_stream", False))

    def features(self, samples: np.ndarray) -> np.ndarray:
        """What the model sees of `samples`: `(frames, features)`.

        Raises:
            SoundError: If they are too short for it to see anything.
        """
        try:
            inputs = self.extractor(samples, sampling_rate=self.rate, return_tensors="np")
        except ValueError as error:
            raise SoundError(
                f"This sound has only {len(samples) / self.rate:.3f} seconds: give a longer one."
            ) from error
        features: np.ndarray = inputs[self.model.main_input_name][0]
        return features

    def words(self, samples: np.ndarray, language_model: bool) -> list[Word]:
        """What is said in `samples` `(samples,)` at the model's rate."""
        if is_silent(samples):
            return []
        log_probs, frame = self._log_probs(samples), self._ratio / self.rate
        pieces = [(0, len(log_probs))]
        if len(samples) > LONG_SECONDS * self.rate:
            delimiter = self._tokens.index(DELIMITER) if DELIMITER in self._tokens else None
            pieces = cut_at_pauses(log_probs[:, : len(self._tokens)], self._blank, delimiter, frame)
        words = []
        for first, last in pieces:
            for word in self._decode(log_probs[first:last], language_model):
                words.append(replace(word, start=word.start + first * frame, end=word.end + first * frame))
        return words

    def listen(self) -> Listener:
        """Begins to listen live."""
        return Listener(self.model.stream(self.extractor, self.tokenizer), self.rate)

    def _decode(self, log_probs: np.ndarray, language_model: bool) -> list[Word]:
        """The words of log-probabilities `(frames, tokens + phones)`."""
        frame = self._ratio / self.rate
        if language_model and self._search is not None:
            return self._search.decode(log_probs, frame)
        return best_path(log_probs[:, : len(self._tokens)], self._tokens, self._blank, frame)

    def _extractor_for(self, samples: np.ndarray) -> Any:
        """One that normalizes any part of a recording as the recording.

        A model that normalizes by utterance would blow up the hiss of a chunk in which nobody speaks until it hears
        words in it.
        """
        if getattr(self.extractor, "normalization", "") != "utterance" or len(samples) <= LONG_SECONDS * self.rate:
            return self.extractor
        seconds = samples[: len(samples) // self.rate * self.rate].reshape(-1, self.rate)
        levels = 20 * np.log10(seconds.std(axis=1) + 1e-7)
        fitted = copy.deepcopy(self.extractor)
        fitted.normalization = "global"
        fitted.fit_global_statistics(seconds[levels > np.sort(levels)[-_MEASURE] - _LOUD_DECIBELS])
        return fitted

    @torch.inference_mode()
    def _log_probs(self, samples: np.ndarray) -> np.ndarray:
        """Log-probabilities `(frames, tokens + phones)` of a recording of any length, the phones if the model has some.

        Chunks begin and end between frames.
        """
        total, extractor = len(samples) // self._ratio, self._extractor_for(samples)
        chunk, overlap = (round(seconds * self.rate / self._ratio) for seconds in (CHUNK_SECONDS, OVERLAP_SECONDS))
        pieces = []
        known = 0
        while known < total:
            first = max(known - overlap, 0) if total > chunk else 0
            last = total if first + chunk >= total else first + chunk
            # The last chunk keeps the samples behind the last whole frame, as the recording as a whole does.
            heard = samples[first * self._ratio : len(samples) if last == total else last * self._ratio]
            inputs = extractor(heard, sampling_rate=self.rate, return_tensors="pt")
            output = self.model(**inputs)
            both = [logits for logits in (output.logits, getattr(output, "phone_logits", None)) if logits is not None]
            log_probs = torch.cat([logits[0].float().log_softmax(dim=-1) for logits in both], dim=1).numpy()
            believed = last if last == total else last - overlap
            pieces.append(log_probs[known - first : believed - first])
            known = believed
        return np.concatenate(pieces) if pieces else np.zeros((0, len(self._tokens)), dtype=np.float32)

    def _open_language_model(self, arpa: Path, lexicon: Path) -> BeamSearch | None:
        if not arpa.is_file():
            return None
        try:
            return BeamSearch(arpa, self._tokens, self._blank, lexicon if lexicon.is_file() else None)
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            print(f"The language model cannot be used, and only the best path can be chosen: {error}")
            return None


class Listener:
    """Hears one microphone. All it keeps is the stream's state, which does not grow, and the text.

    Args:
        stream: The model's stream.
        rate: The rate in Hz at which the model hears.
    """

    def __init__(self, stream: Any, rate: int) -> None:
        self._stream, self._rate = stream, rate
        self._resampler: soxr.ResampleStream | None = None
        self.seconds = 0.0
        self.text = ""

    def accept(self, samples: np.ndarray, rate: int) -> str:
        """Hears a piece, as a browser gives it, and returns the text so far.

        Args:
            samples: `(samples,)` or `(samples, channels)`, floats or integers.
            rate: Their rate in Hz, which stays the same.

        Raises:
            SoundError: If they are no samples.
        """
        mono = to_mono(samples)
        self.seconds += len(mono) / rate
        if rate != self._rate:
            if self._resampler is None:
                # One that remembers: resampled piece by piece, the seams would be heard.
                self._resampler = soxr.ResampleStream(rate, self._rate, 1, dtype="float32")
            mono = self._resampler.resample_chunk(mono)
        self.text = self._stream.accept(mono).text
        return self.text

    def finish(self) -> str:
        """Ends the recording and returns the whole text."""
        if self._resampler is not None:
            self._stream.accept(self._resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True))
        self.text = self._stream.finish().text
        return self.text
