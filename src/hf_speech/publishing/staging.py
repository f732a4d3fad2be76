"""Staging: a clean folder with what is to be published and nothing else, held against every check.

What goes along is listed; all else stays. The records of a run (recipe, evaluations, commands) may name folders of the
machine they were made on: those become `path/to/NAME` in the staged copy. Everywhere else an absolute path is refused.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hf_speech.errors import PublishError
from hf_speech.publishing.card.facts import weight_files
from hf_speech.publishing.card.metadata import CARD, read_metadata
from hf_speech.publishing.card.page import REPO_ID, check_card, render_card
from hf_speech.publishing.card.words import file_size
from hf_speech.publishing.checks import licenses
from hf_speech.publishing.checks.files import check_beside, check_files, check_sizes
from hf_speech.publishing.checks.leaks import shorten_paths
from hf_speech.publishing.checks.remote_code import check_code, check_listed, remote_files

Kind = Literal["model", "space", "dataset"]
# Of one file; weights beyond it are better sharded.
MAX_FILE_BYTES = 2 * 1024**3

_SOUNDS = ("*.wav", "*.flac", "*.ogg", "*.opus", "*.mp3")
# `*` reaches into sub-folders; Python files of a model are found by its configuration.
ALLOWED: dict[Kind, tuple[str, ...]] = {
    "model": (
        *("config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json"),
        *("tokenizer_config.json", "tokenizer.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
        *("model*.safetensors", "model.safetensors.index.json", "*.arpa", "*.decoder.json", "lexicon.txt"),
        *("recipe.yaml", "training.json", "inspection.json", "curves.png"),
        *("evaluation/*.json", "evaluation/*.csv", "evaluation/*.png", "NOTICE"),
    ),
    "space": (
        *("*.py", "*.md", "*.txt", "*.css", "*.js", "*.html", "*.json", "*.yaml", "*.csv", "NOTICE"),
        *("*.png", "*.jpg", "*.gif", "*.svg", *_SOUNDS),
    ),
    "dataset": (
        "*.parquet",
        "*.md",
        "*.txt",
        "*.csv",
        "*.json",
        "*.yaml",
        "*.png",
        "*.jpg",
        "*.svg",
        *_SOUNDS,
        "NOTICE",
    ),
}
# Written by us, and about a run: paths in them are shortened.
RECORDS = ("recipe.yaml", "training.json", "inspection.json", "evaluation/*.json", "*.decoder.json")
# Never looked into.
SKIPPED_FOLDERS = frozenset({"checkpoints", "logs", "__pycache__", ".git", ".cache", ".ipynb_checkpoints", ".venv"})
# What a Space has without asking for it.
GIVEN_TO_SPACES = frozenset({"gradio", "huggingface-hub", "spaces"})


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
        lines, shown = [f"{self.repo_id}/"], set()
        for name, size in sorted(self.files.items(), key=lambda item: (item[0].count("/") > 0, item[0])):
            *folders, file = name.split("/")
            for depth, folder in enumerate(folders):
                path = "/".join(folders[: depth + 1])
                if path not in shown:
                    shown.add(path)
                    lines.append(f"{'    ' * (depth + 1)}{folder}/")
            lines.append(f"{'    ' * (len(folders) + 1) + file:<52} {file_size(size):>9}")
        return "\n".join([*lines, f"{f'{len(self.files)} files':<52} {file_size(sum(self.files.values())):>9}"])


def stage(
    run_dir: Path,
    destination: Path,
    *,
    repo_id: str,
    kind: Kind = "model",
    card: str | None = None,
    revision: str | None = None,
    previous: str | None = None,
    license: str | None = None,
    extra: Mapping[str, bytes] | None = None,
    max_file_bytes: int = MAX_FILE_BYTES,
) -> Staged:
    """Makes a clean folder by allow-list, and runs every check over it.

    Args:
        run_dir: The run folder; of a Space or data set, its folder.
        destination: An empty or new folder, outside the run folder.
        repo_id: `NAME/REPO`.
        kind: What is to be published, which decides the allow-list.
        card: The README.md to publish; None for that of the folder, or for a model without one the rendered card.
        revision: For the rendered card: where its example pins the code.
        previous: For the rendered card: the card that is on the Hub now.
        license: The Hub's name of the license (`apache-2.0`); None for what the folder's LICENSE or the previous card
            says, and Apache-2.0, the license of the code that travels, where they say nothing.
        extra: Further files by their names, such as probe clips; they are checked like all others.
        max_file_bytes: Size beyond which a file is refused.

    Raises:
        PublishError: One sentence for whatever must not be published; the destination is then left empty.
    """
    run_dir, destination = Path(run_dir), Path(destination)
    if not REPO_ID.fullmatch(repo_id):
        raise PublishError(f"{repo_id!r} is no name of a repository: give NAME/REPO.")
    if not run_dir.is_dir():
        raise PublishError(f"There is no folder {run_dir}: give the folder that is to be published.")
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise PublishError(f"{destination} is not empty: stage into a new folder.")
    if destination.resolve().is_relative_to(run_dir.resolve()):
        raise PublishError(f"{destination} lies in {run_dir}, which is to be published: stage into a folder elsewhere.")
    destination.mkdir(parents=True, exist_ok=True)
    try:
        allowed, left_out = _select(run_dir, kind)
        check_beside(run_dir, left_out)
        notes = _copy(run_dir, destination, allowed)
        for name, content in (extra or {}).items():
            _write(destination, name, content)
        if kind == "model":
            notes += _finish_model(run_dir, destination, repo_id, card, revision, previous, license)
        else:
            _finish_folder(run_dir, destination, kind, card, license)
        check_files(destination, max_file_bytes)
        if kind == "model":
            _check_model(destination)
        elif kind == "space":
            _check_space(destination)
    except BaseException:
        _empty(destination)
        raise
    if left_out:
        notes.append(f"Left out, for it is not on the list of what is published: {', '.join(left_out)}.")
    files = {path.relative_to(destination).as_posix(): path.stat().st_size for path in _files(destination)}
    return Staged(destination, files, repo_id, tuple(left_out), tuple(notes))


def _select(run_dir: Path, kind: Kind) -> tuple[list[str], list[str]]:
    """The names of what goes along, and of what stays.

    Raises:
        PublishError: On a link that leads out of the folder.
    """
    patterns: tuple[str, ...] = ALLOWED[kind]
    if kind == "model":
        weight_files(run_dir)
        if not (run_dir / "config.json").is_file():
            raise PublishError(f"{run_dir} has no config.json: give a run folder that `hf-speech train` wrote.")
        patterns += tuple(remote_files(run_dir))
    allowed: list[str] = []
    left_out: list[str] = []
    for path in _files(run_dir):
        name = path.relative_to(run_dir).as_posix()
        if path.is_symlink() and not path.resolve().is_relative_to(run_dir.resolve()):
            raise PublishError(
                f"{name} is a link that leads out of {run_dir}: put the file itself there, or remove it."
            )
        if path.is_symlink() and not path.is_file():
            raise PublishError(f"{name} is a link to nothing or to a folder: remove it.")
        if name in (CARD, licenses.FILE):  # Read where the card is made.
            continue
        inner = name if kind == "model" else name.rpartition("/")[2]
        matches = any(_matches(inner, pattern) for pattern in patterns) and not inner.startswith(".")
        (allowed if matches and path.is_file() else left_out).append(name)
    return allowed, left_out


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) and name.count("/") == pattern.count("/")


def _files(folder: Path) -> list[Path]:
    """All files and links of a folder, without those that are never looked into, sorted by name."""
    found: list[Path] = []
    for root, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS and name not in links]
        found += [Path(root) / name for name in [*files, *links]]
    return sorted(found)


def _copy(run_dir: Path, destination: Path, names: list[str]) -> list[str]:
    """Copies what goes along; says in which records paths were shortened."""
    shortened = []
    for name in names:
        target = destination / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not any(_matches(name, pattern) for pattern in RECORDS):
            shutil.copyfile(run_dir / name, target)
            continue
        text = (run_dir / name).read_bytes().decode("utf-8", errors="surrogateescape")
        if (without := shorten_paths(text)) != text:
            shortened.append(name)
        target.write_bytes(without.encode("utf-8", errors="surrogateescape"))
    return [f"Paths of this machine were shortened in {', '.join(shortened)}."] if shortened else []


def _write(destination: Path, name: str, content: bytes) -> None:
    target = destination / name
    if not target.resolve().is_relative_to(destination.resolve()) or target.exists():
        raise PublishError(f"{name} cannot be added: it is there already, or leads out of the folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def _finish_model(
    run_dir: Path,
    destination: Path,
    repo_id: str,
    card: str | None,
    revision: str | None,
    previous: str | None,
    license: str | None,
) -> list[str]:
    """Adds license and card; says so where nobody chose the license."""
    own = run_dir / CARD
    if card is None and own.is_file():
        card = _text(own)
    said = read_metadata(card or previous or "").get("license")
    terms = licenses.find_license(run_dir, license, said)
    _write(destination, licenses.FILE, terms.text.encode())
    if terms.name != licenses.OF_THE_CODE and any(destination.glob("*.py")):
        _write(destination, licenses.CODE_FILE, licenses.license_of_the_code().encode())
    if card is None:
        card = render_card(destination, repo_id=repo_id, revision=revision, previous=previous, license=terms.name)
    elif said is not None and said != terms.name:
        raise PublishError(f"The card says {said} and the license is {terms.name}: correct one of them.")
    _write(destination, CARD, card.encode())
    if license is None and said is None and not (run_dir / licenses.FILE).is_file():
        return [f"No license was named: the model goes out under {terms.name}, as its code does."]
    return []


def _finish_folder(run_dir: Path, destination: Path, kind: Kind, card: str | None, license: str | None) -> None:
    """Adds the card of a Space or data set, and the text of its license."""
    if card is None:
        if not (run_dir / CARD).is_file():
            raise PublishError(f"{run_dir} has no {CARD}, by which the Hub knows a {kind}: write one.")
        card = _text(run_dir / CARD)
    said = read_metadata(card).get("license")
    if not said:
        raise PublishError(f"The {CARD} of {run_dir} names no license: add it to the metadata at its top.")
    if license not in (None, said):
        raise PublishError(f"The card says {said} and the license is {license}: correct one of them.")
    has_text = (run_dir / licenses.FILE).is_file()
    if kind == "space" or has_text or said == licenses.OF_THE_CODE:
        _write(destination, licenses.FILE, licenses.find_license(run_dir, str(said)).text.encode())
    _write(destination, CARD, card.encode())


def _check_model(folder: Path) -> None:
    """The checks that need to know what a model is."""
    card = _text(folder / CARD)
    check_card(card, folder)
    check_code(folder, remote_files(folder), card)
    check_sizes(folder)


def _check_space(folder: Path) -> None:
    """The check that a Space asks for what it imports."""
    asked = folder / "requirements.txt"
    check_listed(folder, _text(asked) if asked.is_file() else "", GIVEN_TO_SPACES)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PublishError(f"{path} is not UTF-8 text: write it again.") from error


def _empty(folder: Path) -> None:
    """Takes everything out of a folder again, so that nobody sends what was refused."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


__all__ = ["ALLOWED", "MAX_FILE_BYTES", "Kind", "Staged", "stage"]
