"""Errors that a user can fix: one sentence that says what is wrong and how to fix it.

The command line prints the sentence without a traceback; any other exception is a bug. All of them are
subclasses of `ValueError`, so that generic code catches them. The remote code in `models` cannot import this file and
raises `ValueError` itself.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_LISTED = 30
"""If more names than this are known, and none is similar, they are counted instead of listed."""


class HFSpeechError(ValueError):
    """The base of all errors that a user can cause and fix.

    Attributes:
        exit_status: Exit status of the command line.
    """

    exit_status = 2


class AudioError(HFSpeechError):
    """A recording that cannot be used: missing, empty, truncated, not a sound file, or not finite."""


class CorpusError(HFSpeechError):
    """A corpus that cannot be used: not on disk, in another layout, without a column, or with bad rows."""


class RecipeError(HFSpeechError):
    """A recipe with an unknown key, a wrong value, or sections that do not fit together."""


class TrainingError(HFSpeechError):
    """A training that cannot continue: no complete checkpoint, a loss that is not finite, a full disk."""


class PreemptedError(TrainingError):
    """A training that a signal stopped, and that continues when the command is run again with `--resume`."""

    exit_status = 75  # EX_TEMPFAIL


class ModelError(HFSpeechError):
    """A model that cannot be loaded, or that cannot do what was asked of it."""


class PublishError(HFSpeechError):
    """What must not or cannot be published: a secret, a pickle, a number without evidence, a Hub that refuses."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about a wrong name: the most similar known name, or all of them if they are few.

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
    return f"there are {', '.join(names) if len(names) <= MAX_LISTED else f'{len(names)}, and none is like it'}."
