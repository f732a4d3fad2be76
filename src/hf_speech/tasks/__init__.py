"""The tasks, one instance each, by the names the Hub has for them."""

from __future__ import annotations

from hf_speech.errors import RecipeError, nearest
from hf_speech.tasks.audio_classification import AudioClassification, rank_labels
from hf_speech.tasks.automatic_speech_recognition import AutomaticSpeechRecognition
from hf_speech.tasks.base import Record, Task
from hf_speech.tasks.text import TextOptions

__all__ = [
    "TASKS",
    "AudioClassification",
    "AutomaticSpeechRecognition",
    "Record",
    "Task",
    "TextOptions",
    "get_task",
    "rank_labels",
]

TASKS: dict[str, Task] = {task.name: task for task in (AudioClassification(), AutomaticSpeechRecognition())}


def get_task(name: str) -> Task:
    """The task of a name.

    Raises:
        RecipeError: If no task has this name; the message names the nearest one.
    """
    if name in TASKS:
        return TASKS[name]
    raise RecipeError(f"There is no task {name!r}: {nearest(name, TASKS)}")
