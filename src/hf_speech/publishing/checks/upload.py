"""The input of the checks: a staged folder, and the kind of repository it is for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hf_speech.publishing.web_runtime import is_runtime_file

Kind = Literal["model", "space", "dataset"]
CARD = "README.md"
# The largest file; larger weights should be sharded.
MAX_FILE_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Upload:
    """A staged folder.

    Attributes:
        folder: The folder: everything in it is to be sent.
        kind: What it is to become.
        code: Of a model, the Python files that its `auto_map` needs.
        custom_code: Whether the user knows of code that is not this package's.
        max_file_bytes: Size beyond which a file is refused.
    """

    folder: Path
    kind: Kind = "model"
    code: tuple[str, ...] = ()
    custom_code: bool = False
    max_file_bytes: int = MAX_FILE_BYTES

    def files(self) -> list[Path]:
        """All files. The card comes last: it repeats what other files say, and those have to be fixed."""
        found = [path for path in self.folder.rglob("*") if path.is_symlink() or not path.is_dir()]
        found = [path for path in found if not is_runtime_file(path)]  # Known files, which the user has not made.
        return sorted(found, key=lambda path: (path.name == CARD, path))

    def name(self, path: Path) -> str:
        """A file's name relative to the folder, with slashes."""
        return path.relative_to(self.folder).as_posix()

    def card(self) -> str:
        """The README.md; empty where there is none."""
        path = self.folder / CARD
        return path.read_text(encoding="utf-8") if path.is_file() else ""
