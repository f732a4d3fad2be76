"""Copies the files to publish into a staging folder and runs every check on it.

Only files on an allow-list are copied. Paths of this machine in the records of a run (recipe, evaluations, commands)
become `path/to/NAME` in the copy; in other files they are rejected.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_speech.common.files import file_size
from hf_speech.common.hub import Repository
from hf_speech.errors import PublishError
from hf_speech.publishing.card.facts import read_facts
from hf_speech.publishing.card.metadata import benchmark_results
from hf_speech.publishing.card.page import RenderedCard, render
from hf_speech.publishing.card.review import check as check_card
from hf_speech.publishing.checks import executables, licenses, run_checks
from hf_speech.publishing.checks.pictures import copy_picture
from hf_speech.publishing.checks.private_paths import anonymize
from hf_speech.publishing.checks.remote_code import remote_files
from hf_speech.publishing.checks.secrets import check_name, without_secrets
from hf_speech.publishing.checks.structure import check_regular, read_metadata
from hf_speech.publishing.checks.upload import CARD, MAX_FILE_BYTES, Kind, Upload
from hf_speech.publishing.hub.push import BENCHMARK_FILE

_AUDIO = ("*.wav", "*.flac", "*.ogg", "*.opus", "*.mp3")
_PICTURES = frozenset({".png", ".jpg"})
# For Spaces and datasets, the patterns apply in subfolders too. A model's Python files follow from its configuration.
ALLOWED: dict[Kind, tuple[str, ...]] = {
    "model": (
        *("config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json"),
        *("tokenizer_config.json", "tokenizer.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
        *("model*.safetensors", "model.safetensors.index.json", "*.arpa", "*.ngram", "*.decoder.json", "lexicon.txt"),
        *("recipe.yaml", "training.json", "inspection.json", "base_model.json", "adaptation.json", "curves.png"),
        *("evaluation/*.json", "evaluation/*.csv", "evaluation/*.png", "NOTICE"),
    ),
    "space": (
        *("*.py", "*.md", "*.txt", "*.css", "*.js", "*.html", "*.json", "*.yaml", "*.csv", "NOTICE"),
        *("*.png", "*.jpg", "*.gif", "*.svg", *_AUDIO),
        *("*.mjs", "*.webmanifest", "*.onnx", "*.wasm.gz"),  # Only in static Spaces.
    ),
    "dataset": (
        *("*.parquet", "*.md", "*.txt", "*.csv", "*.json", "*.yaml", "*.png", "*.jpg", "*.svg", *_AUDIO, "NOTICE"),
    ),
}
# Files about a run that this package writes; paths in them are shortened.
RECORDS = ("recipe.yaml", "training.json", "adaptation.json", "inspection.json", "evaluation/*.json", "*.decoder.json")
# Folders that are skipped.
SKIPPED_FOLDERS = frozenset({"checkpoints", "logs", "__pycache__", ".git", ".cache", ".ipynb_checkpoints", ".venv"})


@dataclass(frozen=True)
class Staged:
    """A staged folder that passed every check.

    Attributes:
        folder: The folder, which contains exactly the files to publish.
        files: The size of each file in bytes, by its path relative to the folder.
        repo_id: `NAME/REPO`.
        left_out: Files of the source folder that were not copied.
        notes: Messages for the user, one sentence each.
    """

    folder: Path
    files: dict[str, int]
    repo_id: str
    left_out: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())

    def tree(self) -> str:
        """Formats the files and their sizes as a tree."""
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


@dataclass(frozen=True)
class CardOptions:
    """Options for the card and license, besides the files.

    Attributes:
        card: The card to publish; None for the README.md of the folder, or the rendered card if a model has none.
        revision: The revision at which the example of a rendered card pins the code.
        previous: The card on the Hub.
        license: The name of the license on the Hub; None for that of the folder's LICENSE or the card.
        dataset_metadata: The metadata of the corpus' card, if the corpus is a dataset on the Hub.
    """

    card: str | None = None
    revision: str | None = None
    previous: str | None = None
    license: str | None = None
    dataset_metadata: dict[str, Any] | None = None


def stage(
    run_dir: Path,
    destination: Path,
    *,
    repo_id: str,
    kind: Kind = "model",
    extra: Mapping[str, bytes] | None = None,
    max_file_bytes: int = MAX_FILE_BYTES,
    custom_code: bool = False,
    **card_options: Any,
) -> Staged:
    """Copies the files to publish into an empty folder and runs every check on it.

    Args:
        run_dir: The run folder, or the folder of the Space or dataset.
        destination: An empty or new folder outside the run folder.
        repo_id: `NAME/REPO`.
        kind: The kind of repository; selects the allow-list.
        extra: Contents of further files by name, such as probe clips.
        max_file_bytes: The size of the largest file that is accepted.
        custom_code: Whether remote code may differ from this package's.
        **card_options: See `CardOptions`.

    Raises:
        PublishError: If a file must not be published or a check fails; the destination is then left empty.
    """
    run_dir, destination = Path(run_dir), Path(destination)
    options = CardOptions(**card_options)
    with without_secrets():
        Repository(repo_id)  # Raises if this is not the name of a repository.
        _check_folders(run_dir, destination)
        destination.mkdir(parents=True, exist_ok=True)
        try:
            code = remote_files(run_dir) if kind == "model" else []
            allowed, left_out = _select(run_dir, kind, code)
            notes = _copy(run_dir, destination, allowed)
            for name, content in (extra or {}).items():
                _write(destination, name, content)
            if kind == "model":
                notes += _add_model_card(run_dir, destination, repo_id, options)
            else:
                _add_card(run_dir, destination, kind, options)
            run_checks(Upload(destination, kind, tuple(code), custom_code, max_file_bytes))
        except BaseException:
            _empty(destination)
            raise
        if left_out:
            notes.append(f"Not published, because they are not on the allow-list: {', '.join(left_out)}.")
        files = {path.relative_to(destination).as_posix(): path.stat().st_size for path in _files(destination)}
        return Staged(destination, files, repo_id, tuple(left_out), tuple(notes))


def check_folder(folder: Path) -> None:
    """Raises PublishError if there is no such folder."""
    if not folder.is_dir():
        raise PublishError(f"There is no folder {folder}: give the folder to publish.")


def _check_folders(run_dir: Path, destination: Path) -> None:
    check_folder(run_dir)
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise PublishError(f"{destination} is not empty: stage into a new folder.")
    if destination.resolve().is_relative_to(run_dir.resolve()):
        raise PublishError(f"{destination} is inside {run_dir}: choose a staging folder outside it.")


def _select(run_dir: Path, kind: Kind, code: list[str]) -> tuple[list[str], list[str]]:
    """Returns the names of the files to publish, and of those to leave out.

    Pickles, programs and credentials are rejected even if they would be left out, because another upload tool would
    include them.
    """
    patterns = (*ALLOWED[kind], *code)
    allowed: list[str] = []
    left_out: list[str] = []
    for path in _files(run_dir):
        name = path.relative_to(run_dir).as_posix()
        check_regular(path, name)
        if not path.resolve().is_relative_to(run_dir.resolve()):
            raise PublishError(f"{name} is a link that leaves {run_dir}: replace it by the file itself, or remove it.")
        if name in (CARD, licenses.FILE):  # `_add_model_card` and `_add_card` handle these.
            continue
        inner = name if kind == "model" else name.rpartition("/")[2]
        if any(_matches(inner, pattern) for pattern in patterns) and not inner.startswith("."):
            allowed.append(name)
            continue
        check_name(name)
        executables.check_beside(path, name, run_dir)
        left_out.append(name)
    return allowed, left_out


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) and name.count("/") == pattern.count("/")


def _files(folder: Path) -> list[Path]:
    """Returns all files and links of a folder, sorted, without those in skipped folders."""
    found: list[Path] = []
    for root, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS and name not in links]
        found += [Path(root) / name for name in [*files, *links]]
    return sorted(found)


def _copy(run_dir: Path, destination: Path, names: list[str]) -> list[str]:
    """Copies files and shortens paths in records; returns a note about the changed records."""
    shortened = []
    for name in names:
        source, target = run_dir / name, destination / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix.lower() in _PICTURES:
            copy_picture(source, target, name)
        elif any(_matches(name, pattern) for pattern in RECORDS):
            text = source.read_bytes().decode("utf-8", errors="surrogateescape")
            if (anonymized := anonymize(text)) != text:
                shortened.append(name)
            target.write_bytes(anonymized.encode("utf-8", errors="surrogateescape"))
        else:
            shutil.copyfile(source, target)
    return [f"Paths of this machine were shortened in {', '.join(shortened)}."] if shortened else []


def _write(destination: Path, name: str, content: bytes) -> None:
    target = destination / name
    if not target.resolve().is_relative_to(destination.resolve()) or target.exists():
        raise PublishError(f"{name} cannot be added: choose a name inside the folder that is not taken.")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def _add_model_card(run_dir: Path, destination: Path, repo_id: str, options: CardOptions) -> list[str]:
    """Adds the license and card of a model and checks the card; returns notes for the user."""
    card = options.card
    if card is None and (run_dir / CARD).is_file():
        card = read_card(run_dir / CARD)
    declared = read_metadata(card or options.previous or "").get("license")
    terms = licenses.find_license(run_dir, options.license, declared)
    facts = read_facts(destination, options.dataset_metadata)
    notes = list(facts.notes)
    rendered: RenderedCard | None = None
    if card is None:
        rendered = render(facts, repo_id=repo_id, revision=options.revision, license=terms, previous=options.previous)
        card = rendered.text
        notes += rendered.notes
    elif declared is not None and declared != terms.name:
        raise PublishError(
            f"The card names the license {declared}, but the license is {terms.name}: correct one of them."
        )
    _write(destination, licenses.FILE, terms.text.encode())
    if terms.name != licenses.CODE_LICENSE and any(destination.glob("*.py")):
        _write(destination, licenses.CODE_FILE, licenses.code_license_text().encode())
    _write(destination, CARD, card.encode())
    check_card(card, facts, rendered)
    if results := benchmark_results(facts, repo_id):
        _write(destination, BENCHMARK_FILE, results.encode())
    if options.license is None and declared is None and not (run_dir / licenses.FILE).is_file():
        notes.append(f"No license was given: the model is published under {terms.name}, like its code.")
    return notes


def _add_card(run_dir: Path, destination: Path, kind: Kind, options: CardOptions) -> None:
    """Adds the card and license of a Space or dataset."""
    card = options.card
    if card is None:
        if not (run_dir / CARD).is_file():
            raise PublishError(f"{run_dir} has no {CARD}, which every {kind} on the Hub needs: write one.")
        card = read_card(run_dir / CARD)
    declared = read_metadata(card).get("license")
    if not declared:
        raise PublishError(f"The {CARD} of {run_dir} names no license: add it to the metadata at its top.")
    if options.license not in (None, declared):
        raise PublishError(
            f"The card names the license {declared}, but the license is {options.license}: correct one of them."
        )
    if kind == "space" or (run_dir / licenses.FILE).is_file() or declared == licenses.CODE_LICENSE:
        _write(destination, licenses.FILE, licenses.find_license(run_dir, str(declared)).text.encode())
    _write(destination, CARD, card.encode())


def read_card(path: Path) -> str:
    """Reads a card to publish.

    Raises:
        PublishError: If it is not a file of UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PublishError(f"The card {path} cannot be read ({type(error).__name__}): give a Markdown file.") from error


def _empty(folder: Path) -> None:
    """Empties a folder, so that rejected files cannot be published by mistake."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
