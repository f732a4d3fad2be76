"""The registry of tasks, by their names on the Hub.

To add a task, write a file with a subclass of `Task` and register an instance with `register_task`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hf_speech.errors import ModelError, RecipeError, nearest
from hf_speech.tasks.audio_classification import AudioClassification, rank_labels
from hf_speech.tasks.automatic_speech_recognition import AutomaticSpeechRecognition
from hf_speech.tasks.base import Record, Task
from hf_speech.tasks.keyword_spotting import KeywordSpotting
from hf_speech.tasks.metric import Metric
from hf_speech.tasks.text import TextOptions
from hf_speech.tasks.voice_activity import VoiceActivityDetection

TASKS: dict[str, Task] = {}


def register_task(task: Task) -> Task:
    """Registers a task under its name, replacing any earlier task of that name."""
    TASKS[task.name] = task
    return task


register_task(AudioClassification())
register_task(AutomaticSpeechRecognition())
register_task(KeywordSpotting())
register_task(VoiceActivityDetection())

DEFAULT_TASK = AudioClassification.name
"""The task of a recipe that does not name one."""


def get_task(name: str) -> Task:
    """Returns the task with the given name.

    Raises:
        RecipeError: If no task has this name; the message names the nearest one.
    """
    if name in TASKS:
        return TASKS[name]
    raise RecipeError(f"There is no task {name!r}: {nearest(name, TASKS)}")


def check_verb(task: Task, model: str, verb: str | None) -> None:
    """Checks that a model belongs to the command `verb`; accepts any model if `verb` is None.

    Raises:
        ModelError: If the model's task has another command.
    """
    if verb not in (None, task.verb):
        names = " or ".join(other.name for other in TASKS.values() if other.verb == verb)
        raise ModelError(
            f"{model} is a model for {task.name}, not for {names}: use `hf-speech {task.verb}`, or give a model for "
            "that task."
        )


def task_of_columns(columns: Iterable[str]) -> Task | None:
    """Returns the first registered task whose target column is among the columns of a corpus."""
    names = set(columns)
    return next((task for task in TASKS.values() if task.target_column in names), None)


def metric_named(name: str) -> Metric:
    """Returns the metric of the first task that has it, or else a `Metric` titled with its name."""
    known = (task.metrics[name] for task in TASKS.values() if name in task.metrics)
    return next(known, Metric(name.replace("_", " "), name))


def task_of_config(config: Any, name: str) -> Task:
    """Returns the task of a model, from its configuration.

    Raises:
        ModelError: If the model has another task, or none that can be derived from its architecture.
    """
    task_name = getattr(config, "task", None)
    if task_name in TASKS:
        return TASKS[task_name]
    architectures = list(config.architectures or [])
    if task_name is not None:
        raise ModelError(f"{name} is a model for {task_name}: only models for {' and '.join(TASKS)} can be used here.")
    for task in TASKS.values():
        if any(architecture.endswith(task.architecture_suffixes) for architecture in architectures):
            return task
    description = architectures[0] if architectures else "model without a named architecture"
    raise ModelError(f"{name} is a {description}: only models for {' and '.join(TASKS)} can be used here.")


__all__ = [
    "DEFAULT_TASK",
    "TASKS",
    "AudioClassification",
    "AutomaticSpeechRecognition",
    "KeywordSpotting",
    "Metric",
    "Record",
    "Task",
    "TextOptions",
    "VoiceActivityDetection",
    "check_verb",
    "get_task",
    "metric_named",
    "rank_labels",
    "register_task",
    "task_of_columns",
    "task_of_config",
]
