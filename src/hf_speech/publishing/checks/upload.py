"""The input of the checks: a staged folder and the kind of repository that it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hf_speech.publishing.web_runtime import is_runtime_file

Kind = Literal["model", "space", "dataset"]
CARD = "README.md"
# Larger weights should be sharded.
MAX_FILE_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Upload:
    """A staged folder.

    Attributes:
        folder: The folder. All its files are uploaded.
        kind: The kind of repository.
        code: The Python files that the `auto_map` of a model needs.
        custom_code: Whether the user allows remote code that differs from this package's.
        max_file_bytes: The size of the largest file that is accepted.
    """

    folder: Path
    kind: Kind = "model"
    code: tuple[str, ...] = ()
    custom_code: bool = False
    max_file_bytes: int = MAX_FILE_BYTES

    def files(self) -> list[Path]:
        """Returns all files, the card last: it quotes other files, which have to be fixed first."""
        found = [path for path in self.folder.rglob("*") if path.is_symlink() or not path.is_dir()]
        found = [path for path in found if not is_runtime_file(path)]  # Verified downloads need no check.
        return sorted(found, key=lambda path: (path.name == CARD, path))

    def name(self, path: Path) -> str:
        """Returns a file's path relative to the folder, with forward slashes."""
        return path.relative_to(self.folder).as_posix()

    def card(self) -> str:
        """Returns the text of README.md, or an empty string if the file is missing."""
        path = self.folder / CARD
        return path.read_text(encoding="utf-8") if path.is_file() else ""
