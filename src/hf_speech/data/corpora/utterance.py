"""The utterances that a corpus lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_speech.common.text import nfc


@dataclass(slots=True)
class Utterance:
    """One row of a corpus before it is converted to a table. Class and speaker names are normalized to NFC.

    Args:
        audio: A path, or a row `{"path", "bytes"}`.
        label: Name of the class, in a corpus for classification.
        text: The transcript, in a corpus for transcription.
        speaker: The speaker, if known.
        duration: Duration in seconds, if known without reading the file.
    """

    audio: Path | Mapping[str, Any]
    label: str | None = None
    text: str | None = None
    speaker: str | None = None
    duration: float | None = None

    def __post_init__(self) -> None:
        self.label = None if self.label is None else nfc(self.label)
        self.speaker = None if self.speaker is None else nfc(self.speaker)
