"""What the page and the end points ask for: sounds in, words out, and one sentence where that cannot be."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

import page
from decoding import Word
from recognizer import Listener, Recognizer
from serving import Settings
from sound import SoundError, is_silent, read_sound, readable
from subtitles import WRITERS, to_json

MOST_FILES = 20


class Transcriber:
    """A recognizer behind limits; the docstrings of its public end points are their documentation.

    Args:
        recognizer: The model.
        settings: The limits.
    """

    def __init__(self, recognizer: Recognizer, settings: Settings) -> None:
        self.recognizer, self.settings = recognizer, settings

    def read(self, sound: str | None) -> Any:
        """The samples of an uploaded file."""
        if not sound:
            raise SoundError("There is no sound yet: upload one, or record it.")
        return read_sound(sound, self.recognizer.rate, self.settings.max_seconds, self.settings.max_megabytes)

    def view(self, sound: str | None, language_model: bool) -> dict[str, Any]:
        """What the page shows of a file."""
        samples = self.read(sound)
        words = self.recognizer.words(samples, language_model)
        recognizer, name = self.recognizer, Path(str(sound)).name
        features = recognizer.features(samples)
        answer = page.view(name, samples, recognizer.rate, features, page.describe_features(recognizer.extractor))
        answer["words"] = [
            [word.text, round(word.start, 3), round(word.end, 3), round(word.confidence, 3)] for word in words
        ]
        if words:
            answer["files"] = {extension: write(words) for extension, write in WRITERS.items()}
        else:
            silent = is_silent(samples)
            answer["note"] = "The recording is silent: check the microphone." if silent else "No words were heard."
        return answer

    def listen(self, piece: dict[str, Any], listener: Listener | None) -> tuple[dict[str, Any], Listener | None]:
        """Hears a piece of a live microphone.

        Args:
            piece: What live.js sends: `piece` (its number), `rate`, `samples` (int16, base64), `last`.
            listener: What has heard the pieces before it.

        Returns:
            What live.js shows, and what hears the next piece.
        """
        number, last = int(piece["piece"]), bool(piece["last"])
        if number == 0:
            listener = self.recognizer.listen()
        elif listener is None:
            raise SoundError("The recording has ended: begin a new one.")
        rate, samples = int(piece["rate"]), np.frombuffer(base64.b64decode(piece["samples"]), dtype="<i2")
        if listener.seconds + len(samples) / max(rate, 1) > self.settings.max_seconds:
            raise SoundError(f"{readable(self.settings.max_seconds)} is the most at a time: begin a new recording.")
        text = listener.accept(samples, rate)
        if last:
            text = listener.finish()
        answer = {"piece": number, "text": text, "seconds": listener.seconds, "last": last}
        return answer, None if last else listener

    def transcribe(self, sound: str, language_model: bool = False) -> dict[str, Any]:
        """Writes what is said in a sound file, with the times of the words and how sure the model is of each.

        Args:
            sound: The sound file: wav, flac, ogg, opus, mp3 or aiff, of any sampling rate and number of channels.
            language_model: Whether to decode with the model's language model, if it has one.

        Returns:
            text, duration in seconds, and words with text, start, end (seconds) and confidence (0 to 1).
        """
        samples = self.read(sound)
        return _as_data(self.recognizer.words(samples, language_model), len(samples) / self.recognizer.rate)

    def subtitles(self, sound: str, format: str = "srt", language_model: bool = False) -> str:
        """Writes what is said in a sound file as subtitles.

        Args:
            sound: The sound file.
            format: srt, vtt, txt or json.
            language_model: Whether to decode with the model's language model, if it has one.

        Returns:
            The content of the file.
        """
        if format not in WRITERS:
            raise SoundError(f"There is no format {format!r}: choose {', '.join(WRITERS)}.")
        return WRITERS[format](self.recognizer.words(self.read(sound), language_model))

    def transcribe_files(self, sounds: list[str], language_model: bool = False) -> list[dict[str, Any]]:
        """Writes what is said in several sound files; one that cannot be read does not keep the others from it.

        Args:
            sounds: The sound files.
            language_model: Whether to decode with the model's language model, if it has one.

        Returns:
            For each file its name and what `transcribe` gives, or its name and an error.
        """
        if not sounds:
            raise SoundError("There is no sound yet: upload some.")
        if len(sounds) > MOST_FILES:
            raise SoundError(f"These are {len(sounds)} files, and {MOST_FILES} are the most at a time: give fewer.")
        answers = []
        for sound in sounds:
            try:
                answer = self.transcribe(sound, language_model)
            except SoundError as error:
                answer = {"error": str(error)}
            answers.append({"file": Path(sound).name, **answer})
        return answers

    def describe(self) -> dict[str, Any]:
        """Says which model answers here, what it can do, and the limits.

        Returns:
            model, revision, task, sampling rate, abilities and limits.
        """
        return {
            "model": self.settings.model_name,
            "revision": self.settings.revision,
            "task": "automatic-speech-recognition",
            "sampling_rate": self.recognizer.rate,
            "streams": self.recognizer.can_stream,
            "language_model": self.recognizer.has_language_model,
            "max_seconds": self.settings.max_seconds,
            "max_megabytes": self.settings.max_megabytes,
            "max_files": MOST_FILES,
        }


def _as_data(words: list[Word], duration: float) -> dict[str, Any]:
    """A transcript as plain data."""
    content: dict[str, Any] = json.loads(to_json(words))
    return {"text": content["text"], "duration": round(duration, 3), "words": content["words"]}
