"""The recognizer of the Space, with the interface of `hf_speech.inference`, and live transcription.

Publishing copies the files of the package that handle long recordings, decoding and subtitles. The model's code comes
with the model. A causal model also transcribes live, with the same text as for the whole recording.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer
from transformers.utils import logging

import zero_gpu
from hf_speech.decoding import Word
from hf_speech.errors import HFSpeechError
from hf_speech.inference.beam_options import BeamOptions, find_language_model
from hf_speech.inference.decoders import Decoder, beam_decoder
from hf_speech.inference.recordings import Recording, fit_extractor
from hf_speech.inference.transcription import transcribe_files
from sound import SoundError, is_silent

# Rates at which browsers record.
LOWEST_RATE, HIGHEST_RATE = 8_000, 192_000


class SpaceRecognizer:
    """A CTC model with its feature extractor, tokenizer and, if its folder has one, language model.

    It implements `Recognizer` of `hf_speech.inference`, where attributes and methods are documented.

    Args:
        folder: The model's folder, whose code is run.
    """

    def __init__(self, folder: Path) -> None:
        logging.disable_progress_bar()
        torch.set_num_threads(1)
        self.folder, self.name = folder, folder.name
        self.model = AutoModelForCTC.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=True
        ).eval()
        self.extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=True)
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
        self.sampling_rate = int(self.extractor.sampling_rate)
        self.samples_per_frame = int(self.model.config.inputs_to_logits_ratio)
        self.tokens = list(self.tokenizer.convert_ids_to_tokens(range(self.model.config.vocab_size)))
        self.num_phones = int(getattr(self.model.config, "num_phones", 0))
        self.blank = int(self.model.config.pad_token_id)
        self.word_delimiter = str(self.tokenizer.word_delimiter_token)
        self.beam_search = self._open_language_model()
        self._model = zero_gpu.gpu_model(self.model)
        self._compute = zero_gpu.on_gpu(self._compute)  # type: ignore[method-assign]
        if not zero_gpu.IS_HERE:
            noise = np.random.default_rng(0).normal(0, 0.1, self.sampling_rate).astype(np.float32)
            self.words(noise, False)  # Warm-up, so that the first visitor does not wait longer.

    @property
    def can_stream(self) -> bool:
        """Whether the model can transcribe live."""
        return bool(getattr(self.model, "can_stream", False))

    def features(self, samples: np.ndarray) -> np.ndarray:
        """Returns the model's input for `samples`, `(frames, features)`."""
        try:
            inputs = self.extractor(samples, sampling_rate=self.sampling_rate, return_tensors="np")
        except ValueError as error:
            raise SoundError(
                f"This sound has only {len(samples) / self.sampling_rate:.3f} seconds: upload a longer one."
            ) from error
        features: np.ndarray = inputs[self.model.main_input_name][0]
        return features

    def words(self, samples: np.ndarray, language_model: bool) -> list[Word]:
        """Returns the words in `samples` `(samples,)` at the model's rate."""
        if is_silent(samples):
            return []
        source = {"array": samples, "sampling_rate": self.sampling_rate}
        decoder = self.beam_search if language_model else None
        (transcript,) = transcribe_files(self, [source], decoder=decoder, progress=False)
        if transcript.error:
            raise SoundError(transcript.error)
        return list(transcript.hypothesis.words)

    def log_probs_fn(self, recording: Recording) -> Callable[[np.ndarray], np.ndarray]:
        """Returns the function that maps samples of a recording to log probabilities."""
        extractor = fit_extractor(self.extractor, recording)

        def log_probs(samples: np.ndarray) -> np.ndarray:
            inputs = extractor(samples, sampling_rate=self.sampling_rate, return_tensors="np")
            return self._compute({name: np.asarray(values) for name, values in inputs.items()})

        return log_probs

    @torch.inference_mode()
    def _compute(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Returns the log probabilities of one clip, `(frames, tokens + phones)`."""
        output = self._model(**{name: torch.as_tensor(values).to(zero_gpu.DEVICE) for name, values in inputs.items()})
        both = [logits for logits in (output.logits, getattr(output, "phone_logits", None)) if logits is not None]
        return torch.cat([logits[0].float().log_softmax(dim=-1) for logits in both], dim=1).cpu().numpy()

    def normalize(self, text: str) -> str:
        """Returns the text unchanged; only hot words would need normalization, and a Space has none."""
        return text

    def find_file(self, name: str) -> Path | None:
        """Returns a file of the model's folder, or None if it does not exist."""
        path = self.folder / name
        return path if path.is_file() else None

    def listen(self) -> Listener:
        """Starts a live recording."""
        return Listener(self.model.stream(self.extractor, self.tokenizer), self.sampling_rate)

    def _open_language_model(self) -> Decoder | None:
        language_model = find_language_model(self)
        if language_model is None:
            return None
        try:
            return beam_decoder(self, BeamOptions.beside(language_model))
        except HFSpeechError as error:
            print(f"The language model cannot be used, so decoding is greedy: {error}")
            return None


class Listener:
    """One live recording: the state of the model's stream, which has a constant size, and the text.

    Args:
        stream: The model's stream.
        sampling_rate: The model's rate in Hz.
    """

    def __init__(self, stream: Any, sampling_rate: int) -> None:
        self._stream, self._sampling_rate = stream, sampling_rate
        self._rate: int | None = None
        self._resampler: soxr.ResampleStream | None = None
        self.seconds = 0.0
        self.text = ""

    def accept(self, samples: np.ndarray, rate: object) -> str:
        """Adds a piece of the recording and returns the text so far.

        Args:
            samples: `(samples,)`, int16.
            rate: Their rate in Hz, the same for all pieces.

        Raises:
            SoundError: If the rate is out of range or changes.
        """
        self._rate = check_rate(rate, self._rate)
        mono = samples.astype(np.float32) / 32768
        self.seconds += len(mono) / self._rate
        if self._rate != self._sampling_rate:
            if self._resampler is None:
                # Keeps its state, because pieces that are resampled separately click at their boundaries.
                self._resampler = soxr.ResampleStream(self._rate, self._sampling_rate, 1, dtype="float32")
            mono = self._resampler.resample_chunk(mono)
        self.text = self._stream.accept(mono).text
        return self.text

    def finish(self) -> str:
        """Ends the recording and returns the whole text."""
        if self._resampler is not None:
            self._stream.accept(self._resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True))
        self.text = self._stream.finish().text
        return self.text


def check_rate(rate: object, before: int | None = None) -> int:
    """Returns the rate of a live recording in Hz as an integer.

    Raises:
        SoundError: If the rate is invalid or differs from the rate `before`.
    """
    number = isinstance(rate, int | float) and not isinstance(rate, bool)
    if not number or not LOWEST_RATE <= rate <= HIGHEST_RATE or rate != int(rate):  # type: ignore[operator,arg-type]
        raise SoundError(
            f"The rate of the recording must be between {LOWEST_RATE} and {HIGHEST_RATE} Hz: use another microphone."
        )
    if before not in (None, rate):
        raise SoundError("The rate of the recording has changed: start a new one.")
    return int(rate)  # type: ignore[call-overload]
