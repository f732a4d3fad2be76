"""Errors that users can fix. Their messages are one sentence: the cause and the remedy.

The command line prints the message without a traceback; any other exception is a bug. All errors are subclasses of
`ValueError`, so that generic code can catch them. The remote code in `models` cannot import this module and raises
`ValueError` itself.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_LISTED = 30
"""The largest number of known names that a message lists if none is similar to the wrong one."""


class HFSpeechError(ValueError):
    """The base class of errors that users can fix.

    Attributes:
        exit_status: The exit status of the command line.
    """

    exit_status = 2


class AudioError(HFSpeechError):
    """A recording that cannot be used: missing, empty, truncated, not audio, or not finite."""


class CorpusError(HFSpeechError):
    """A corpus that cannot be used: missing, in another layout, without a required column, or with bad rows."""


class RecipeError(HFSpeechError):
    """A recipe with an unknown key, an invalid value, or contradictory sections."""


class TrainingError(HFSpeechError):
    """A training run that cannot continue: no complete checkpoint, a loss that is not finite, a full disk."""


class PreemptedError(TrainingError):
    """A training run that was stopped by a signal and can be continued with `--resume`."""

    exit_status = 75  # EX_TEMPFAIL


class ModelError(HFSpeechError):
    """A model that cannot be loaded, or does not support an operation."""


class PublishError(HFSpeechError):
    """A publication that failed: a secret, a pickle, a number without evidence, or an error of the Hub."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns the end of a message about a wrong name: the most similar known name, or all known names if they are few.

    Args:
        name: The wrong name; if it has dots, only its section may be wrong.
        known: The known names.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if not close:
        last_parts = {full.rpartition(".")[2]: full for full in reversed(names)}
        close = [last_parts[part] for part in difflib.get_close_matches(name.rpartition(".")[2], last_parts, n=1)]
    if close:
        return f"did you mean {close[0]!r}?"
    if len(names) <= MAX_LISTED:
        return f"use one of {', '.join(names)}."
    return f"none of the {len(names)} known names is similar."
