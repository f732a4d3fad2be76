"""The optional libraries of the beam search, imported in one place, and a language model that boosts words.

flashlight-text is an extra (`decode`). torchaudio is always installed, but cannot always be imported: its last release
is compiled for the CUDA version of some releases of torch only.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from hf_speech.errors import HFSpeechError


class Library(NamedTuple):
    """The parts of torchaudio and flashlight-text that the beam search uses."""

    ctc_decoder: Any
    CTCDecoderLM: Any
    KenLM: Any
    ZeroLM: Any
    Dictionary: Any


def import_library() -> Library:
    """Import the optional libraries.

    Raises:
        HFSpeechError: If one is missing or cannot be imported.
    """
    try:
        search = importlib.import_module("flashlight.lib.text.decoder")
        kenlm = importlib.import_module("flashlight.lib.text.decoder.kenlm")
        dictionary = importlib.import_module("flashlight.lib.text.dictionary")
    except ImportError as error:
        raise HFSpeechError(
            f"Beam search needs flashlight-text ({error}): pip install 'hf_speech[decode]', or decode greedily."
        ) from error
    try:
        torchaudio = importlib.import_module("torchaudio.models.decoder")
        return Library(
            torchaudio.ctc_decoder, torchaudio.CTCDecoderLM, kenlm.KenLM, search.ZeroLM, dictionary.Dictionary
        )
    except (ImportError, OSError, RuntimeError) as error:
        raise HFSpeechError(
            f"Beam search needs a torchaudio that fits torch {version('torch')}, and importing it failed "
            f"({str(error).splitlines()[0]}): pip install 'torch>=2.11,<2.15' 'torchaudio==2.11.*'."
        ) from error


def load_kenlm(library: Library, path: str | os.PathLike[str], order: Path) -> Any:
    """Read a language model with KenLM.

    Args:
        library: The libraries.
        path: An ARPA file of order 2 or more.
        order: A file with a word on each line; the model scores the n-th one as word n.

    Raises:
        HFSpeechError: If KenLM cannot read it.
    """
    try:
        with _silent_stderr():
            return library.KenLM(os.fspath(path), library.Dictionary(str(order)))
    except RuntimeError as error:
        # KenLM names the place in its sources, then the problem, then the place in the file.
        reason = str(error).strip().splitlines()[-1].partition(". ")[0]
        raise HFSpeechError(
            f"The language model {os.fspath(path)} cannot be loaded ({reason}): build it again with hf-speech build-lm."
        ) from error


def boost(library: Library, model: Any, hot: set[int], bonus: float) -> Any:
    """Add a bonus to the scores that a language model gives to some words.

    Args:
        library: The libraries.
        model: A language model of flashlight.
        hot: Indices of the words.
        bonus: Added to their scores, in the same units.
    """

    class Boosted(library.CTCDecoderLM):  # type: ignore[name-defined]
        """Scores as `model` does, with its states."""

        def start(self, start_with_nothing: bool) -> Any:
            return model.start(start_with_nothing)

        def score(self, state: Any, word: int) -> tuple[Any, float]:
            state, score = model.score(state, word)
            return state, score + bonus if word in hot else score

        def finish(self, state: Any) -> tuple[Any, float]:
            return model.finish(state)

    return Boosted()


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Hide the progress bar of KenLM, which is written in C++."""
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
