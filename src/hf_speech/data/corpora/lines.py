"""Text files with a line for each utterance, as corpora list their transcripts, speakers and recordings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hf_speech.errors import CorpusError


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines of a file that are not blank, each after what an error calls it ("FILE, line 3,").

    Raises:
        CorpusError: If the file does not exist or is not UTF-8 text.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line := line.strip():
                    yield f"{path}, line {number},", line
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror or error}): give the whole corpus.") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is no text that can be read ({error}): save it as UTF-8 text.") from error


def read_pairs(path: Path) -> dict[str, str]:
    """Read lines "ID anything": the rest of each line by its id, "" where there is none.

    Raises:
        CorpusError: If the file cannot be read, or has an id twice.
    """
    pairs: dict[str, str] = {}
    for where, line in read_lines(path):
        key, *rest = line.split(maxsplit=1)
        if key in pairs:
            raise CorpusError(f"{where} has {key!r} a second time: leave one of the lines out.")
        pairs[key] = rest[0] if rest else ""
    return pairs
