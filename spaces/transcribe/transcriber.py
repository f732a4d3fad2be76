"""The functions behind the page and the endpoints of the Space."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import page
from about import About
from hf_speech.decoding import Word, make_cues, to_json, to_srt, to_vtt
from recognizer import HIGHEST_RATE, Listener, SpaceRecognizer, check_rate
from settings import Settings
from sound import SoundError, is_silent, readable
from uploads import Uploads

MAX_FILES = 20
# live.js sends at most four seconds at a time.
MAX_PIECE_SAMPLES = 4 * HIGHEST_RATE
WRITERS: dict[str, Callable[[Sequence[Word]], str]] = {
    "txt": lambda words: " ".join(word.text for word in words) + "\n",
    "srt": lambda words: to_srt(make_cues(words)),
    "vtt": lambda words: to_vtt(make_cues(words)),
    "json": to_json,
}


class Transcriber:
    """A recognizer with limits on its input; the docstrings of its endpoints are their API documentation.

    Args:
        folder: The model's folder.
        settings: The limits.
        uploads: The table of uploads.
    """

    def __init__(self, folder: Path, settings: Settings, uploads: Uploads) -> None:
        self.recognizer = SpaceRecognizer(folder)
        self.settings, self.uploads = settings, uploads
        self.about = About.read(folder, settings)

    def view(self, sound: str | None, language_model: bool) -> dict[str, Any]:
        """Returns the data of the page for an upload."""
        samples = self._read(sound)
        recognizer = self.recognizer
        words = recognizer.words(samples, language_model)
        label = page.describe_features(recognizer.extractor)
        answer = page.view(
            self.uploads.name(sound), samples, recognizer.sampling_rate, recognizer.features(samples), label
        )
        answer["words"] = [
            [word.text, round(word.start, 3), round(word.end, 3), round(float(word.confidence), 3)] for word in words
        ]
        if words:
            answer["files"] = {extension: write(words) for extension, write in WRITERS.items()}
        else:
            silent = is_silent(samples)
            answer["note"] = "The recording is silent: check the microphone." if silent else "No words were recognized."
        return answer

    def table(self, sounds: list[str] | None, language_model: bool) -> dict[str, Any]:
        """Returns the data of the page for several uploads."""
        rows = [
            [
                answer["file"],
                f"{answer['duration']:.1f} s" if "duration" in answer else "",
                answer.get("error", answer.get("text", "")),
            ]
            for answer in self.transcribe_files(sounds or [], language_model)
        ]
        return {"headers": ["file", "length", "text"], "rows": rows}

    def listen(self, event: object, listener: Listener | None) -> tuple[dict[str, Any], Listener | None]:
        """Transcribes a piece of a live recording.

        Args:
            event: A message of live.js: `piece` (its number), `rate`, `samples` (int16, base64), `last`.
            listener: The state after the previous piece.

        Returns:
            The answer for live.js, and the state for the next piece.

        Raises:
            SoundError: If the event is invalid, or the recording is too long.
        """
        number, rate, samples, last = _read_piece(event)
        if number == 0:
            listener = self.recognizer.listen()
        elif listener is None:
            raise SoundError("The recording has ended: start a new one.")
        limit = self.settings.max_seconds
        if listener.seconds + len(samples) / rate > limit:
            raise SoundError(f"The recording is longer than {readable(limit)}: start a new one.")
        text = listener.accept(samples, rate)
        if last:
            text = listener.finish()
        answer = {"piece": number, "text": text, "seconds": listener.seconds, "last": last}
        return answer, None if last else listener

    def transcribe(self, sound: str, language_model: bool = False) -> dict[str, Any]:
        """Transcribes a sound file, with the time and confidence of each word.

        Args:
            sound: The sound file: wav, flac, ogg, opus, mp3 or aiff, with any sampling rate and number of channels.
            language_model: Whether to decode with the model's language model, if it has one.

        Returns:
            text, duration in seconds, and words with text, start, end (seconds) and confidence (0 to 1).
        """
        samples = self._read(sound)
        content: dict[str, Any] = json.loads(to_json(self.recognizer.words(samples, language_model)))
        duration = round(len(samples) / self.recognizer.sampling_rate, 3)
        return {"text": content["text"], "duration": duration, "words": content["words"]}

    def subtitles(self, sound: str, format: str = "srt", language_model: bool = False) -> str:
        """Transcribes a sound file into subtitles.

        Args:
            sound: The sound file.
            format: srt, vtt, txt or json.
            language_model: Whether to decode with the model's language model, if it has one.

        Returns:
            The content of the file.
        """
        if not isinstance(format, str) or format not in WRITERS:
            raise SoundError(f"There is no format {str(format)[:40]!r}: choose from {', '.join(WRITERS)}.")
        return WRITERS[format](self.recognizer.words(self._read(sound), language_model))

    def transcribe_files(self, sounds: list[str], language_model: bool = False) -> list[dict[str, Any]]:
        """Transcribes several sound files; a file that cannot be read does not affect the others.

        Args:
            sounds: The sound files.
            language_model: Whether to decode with the model's language model, if it has one.

        Returns:
            For each file, its name and the result of `transcribe`, or its name and an error.
        """
        return self.uploads.answer_each(sounds, lambda sound: self.transcribe(sound, language_model), MAX_FILES)

    def describe(self) -> dict[str, Any]:
        """Describes the model, its capabilities, and the limits.

        Returns:
            model, revision, task, corpus, sampling rate, capabilities and limits.
        """
        return {
            "model": self.settings.model_name,
            "revision": self.settings.revision,
            "task": "automatic-speech-recognition",
            "trained_on": self.about.corpus,
            "sampling_rate": self.recognizer.sampling_rate,
            "streams": self.recognizer.can_stream,
            "language_model": self.recognizer.beam_search is not None,
            "max_seconds": self.settings.max_seconds,
            "max_megabytes": self.settings.max_megabytes,
            "max_files": MAX_FILES,
        }

    def _read(self, sound: str | None) -> np.ndarray:
        """Returns the samples of an upload."""
        return self.uploads.read(sound, self.recognizer.sampling_rate, self.settings)


def piece_number(event: object) -> int | None:
    """Returns the number of a piece, which the answer repeats, or None if it is invalid."""
    number = event.get("piece") if isinstance(event, dict) else None
    return number if type(number) is int and 0 <= number < 1 << 31 else None


def _read_piece(event: object) -> tuple[int, int, np.ndarray, bool]:
    """Validates a message of live.js.

    Returns:
        The number of the piece, its rate in Hz, its samples `(samples,)` as int16, and whether it is the last one.

    Raises:
        SoundError: If a value is missing, has the wrong type, or is out of range.
    """
    if not isinstance(event, dict):
        raise SoundError("This is not a piece of a recording.")
    number, last, text = piece_number(event), event.get("last"), event.get("samples")
    rate = check_rate(event.get("rate"))
    if number is None or type(last) is not bool or not isinstance(text, str):
        raise SoundError(
            "This is not a piece of a recording: send a number, a rate, samples, and whether it is the last."
        )
    if len(text) > MAX_PIECE_SAMPLES * 2 * 4 // 3 + 4:
        raise SoundError("This piece of the recording is too long: send it in parts.")
    try:
        samples = np.frombuffer(base64.b64decode(text, validate=True), dtype="<i2")
    except (binascii.Error, ValueError) as error:
        raise SoundError("The samples of this piece are not 16-bit numbers in base64.") from error
    return number, rate, samples, last
