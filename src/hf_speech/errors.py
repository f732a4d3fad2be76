"""Errors that speak the user's language: one sentence that names the thing and the remedy.

Everything a user can cause is an `HFSpeechError`; the command line prints its sentence without a traceback, and any
other exception is a bug of ours. They are `ValueError`s, so that code written against the standard library catches
them too. The code under `models/` travels to the Hub without this file and raises plain `ValueError`s.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# So many names are listed where none of them is like the one that was given.
MOST_LISTED = 30


class HFSpeechError(ValueError):
    """The base of all errors a user can cause and remedy.

    Attributes:
        exit_status: Exit status of the command line.
    """

    exit_status = 2


class AudioError(HFSpeechError):
    """A sound that cannot be read or used: missing, empty, truncated, not a sound file, not finite."""


class CorpusError(HFSpeechError):
    """A corpus that cannot be used: not on disk, in another layout, without a column or with bad rows."""


class RecipeError(HFSpeechError):
    """A recipe with an unknown key, a wrong value, or sections that do not fit together."""


class TrainingError(HFSpeechError):
    """A training that cannot go on: no whole checkpoint, a loss that is no number, a full disk."""


class PreemptedError(TrainingError):
    """A training that was ended by a signal, and goes on when the same command is run again with `--resume`."""

    exit_status = 75  # EX_TEMPFAIL


class ModelError(HFSpeechError):
    """A model folder or Hub id that cannot be loaded, or a model asked for what it cannot do."""


class PublishError(HFSpeechError):
    """What must not or cannot be published: a secret, a pickle, a figure without its file, a Hub that refuses."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error's sentence about a wrong name: the nearest right one, or all of them if they are few.

    Args:
        name: What was given; with dots, it may be right but for its section.
        known: The right names.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if not close:
        last_parts = {full.rpartition(".")[2]: full for full in reversed(names)}
        close = [last_parts[part] for part in difflib.get_close_matches(name.rpartition(".")[2], last_parts, n=1)]
    if close:
        return f"did you mean {close[0]!r}?"
    return f"there are {', '.join(names) if len(names) <= MOST_LISTED else f'{len(names)}, and none is like it'}."
