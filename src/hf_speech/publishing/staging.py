"""Staging: a clean folder with what is to be published and nothing else, held against every check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

# Of one file; weights beyond it are better sharded.
MAX_FILE_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Staged:
    """A folder that passed every check.

    Attributes:
        folder: The clean folder: everything in it, and nothing else, is to be published.
        files: Size in bytes of each of its files, by name relative to the folder (with slashes).
        repo_id: `NAME/REPO`.
        left_out: What of the source folder was not taken along.
        notes: What was done on the way, one sentence each.
    """

    folder: Path
    files: dict[str, int]
    repo_id: str
    left_out: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())

    def tree(self) -> str:
        """The files as a tree with their sizes."""
        raise NotImplementedError


def stage(
    run_dir: Path,
    destination: Path,
    *,
    repo_id: str,
    kind: Literal["model", "space", "dataset"] = "model",
    card: str | None = None,
    revision: str | None = None,
    previous: str | None = None,
    licence: str | None = None,
    extra: Mapping[str, bytes] | None = None,
    max_file_bytes: int = MAX_FILE_BYTES,
) -> Staged:
    """Makes a clean folder by allow-list, and runs every check over it.

    Args:
        run_dir: The run folder; of a Space or data set, its folder.
        destination: An empty or new folder.
        repo_id: `NAME/REPO`.
        kind: What is to be published, which decides the allow-list.
        card: The README.md to publish; None for a model's rendered card, or the folder's own README.md.
        revision: For the rendered card: where its example pins the code.
        previous: For the rendered card: the card that is on the Hub now.
        licence: The Hub's name of the licence (`apache-2.0`); None for what the folder's LICENSE or the previous card
            says, and Apache-2.0, the licence of the code that travels, where they say nothing.
        extra: Further files by their names, such as probe clips; they are checked like all others.
        max_file_bytes: Size beyond which a file is refused.

    Raises:
        PublishError: One sentence for whatever must not be published; the destination is then left empty.
    """
    raise NotImplementedError
