"""Staging: a clean folder with only the files to publish, after every check.

Only listed files are sent. The records of a run (recipe, evaluations, commands) may name folders
of the machine they were made on: those become `path/to/NAME` in the staged copy. Everywhere else such a path is
refused. The order is: select, copy, read the facts, write license and card, check.
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
from hf_speech.errors import PublishError
from hf_speech.publishing.card.facts import read_facts
from hf_speech.publishing.card.metadata import benchmark_results
from hf_speech.publishing.card.page import RenderedCard, check_repo_id, render
from hf_speech.publishing.card.review import check as check_card
from hf_speech.publishing.checks import executables, licenses, run_checks
from hf_speech.publishing.checks.pictures import copy_picture
from hf_speech.publishing.checks.places import anonymize
from hf_speech.publishing.checks.remote_code import remote_files
from hf_speech.publishing.checks.secrets import check_name, without_secrets
from hf_speech.publishing.checks.structure import check_regular, read_metadata
from hf_speech.publishing.checks.upload import CARD, MAX_FILE_BYTES, Kind, Upload
from hf_speech.publishing.hub.push import BENCHMARK_FILE

_AUDIO = ("*.wav", "*.flac", "*.ogg", "*.opus", "*.mp3")
_PICTURES = frozenset({".png", ".jpg"})
# `*` reaches into sub-folders; Python files of a model are found by its configuration.
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
        *("*.mjs", "*.webmanifest", "*.onnx", "*.wasm.gz"),  # of static Spaces
    ),
    "dataset": (
        *("*.parquet", "*.md", "*.txt", "*.csv", "*.json", "*.yaml", "*.png", "*.jpg", "*.svg", *_AUDIO, "NOTICE"),
    ),
}
# Written by us, and about a run: paths in them are shortened.
RECORDS = ("recipe.yaml", "training.json", "adaptation.json", "inspection.json", "evaluation/*.json", "*.decoder.json")
# Never looked into.
SKIPPED_FOLDERS = frozenset({"checkpoints", "logs", "__pycache__", ".git", ".cache", ".ipynb_checkpoints", ".venv"})


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


@dataclass(frozen=True)
class CardOptions:
    """What a card or its license is made from, besides the files.

    Attributes:
        card: The README.md to publish; None for that of the folder, or for a model without one the rendered card.
        revision: Where the rendered card's example pins the code.
        previous: The card that is on the Hub now.
        license: The Hub's name of the license; None for what the folder's LICENSE or the card says.
        dataset_metadata: Metadata of the corpus's card, if that is a dataset of the Hub.
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
    """Makes a clean folder by allow-list, and runs every check over it.

    Args:
        run_dir: The run folder; of a Space or dataset, its folder.
        destination: An empty or new folder, outside the run folder.
        repo_id: `NAME/REPO`.
        kind: What is to be published, which decides the allow-list.
        extra: Further files by their names, such as probe clips; they are checked like all others.
        max_file_bytes: Size beyond which a file is refused.
        custom_code: Whether remote code may differ from this package's.
        **card_options: Those of `CardOptions`.

    Raises:
        PublishError: One sentence for whatever must not be published; the destination is then left empty.
    """
    run_dir, destination = Path(run_dir), Path(destination)
    options = CardOptions(**card_options)
    with without_secrets():
        _check_folders(run_dir, destination, repo_id)
        destination.mkdir(parents=True, exist_ok=True)
        try:
            code = remote_files(run_dir) if kind == "model" else []
            allowed, left_out = _select(run_dir, kind, code)
            notes = _copy(run_dir, destination, allowed)
            for name, content in (extra or {}).items():
                _write(destination, name, content)
            finish = _finish_model if kind == "model" else _finish_folder
            notes += finish(run_dir, destination, repo_id, kind, options)
            run_checks(Upload(destination, kind, tuple(code), custom_code, max_file_bytes))
        except BaseException:
            _empty(destination)
            raise
        if left_out:
            notes.append(f"Left out, for it is not on the list of what is published: {', '.join(left_out)}.")
        files = {path.relative_to(destination).as_posix(): path.stat().st_size for path in _files(destination)}
        return Staged(destination, files, repo_id, tuple(left_out), tuple(notes))


def _check_folders(run_dir: Path, destination: Path, repo_id: str) -> None:
    check_repo_id(repo_id)
    if not run_dir.is_dir():
        raise PublishError(f"There is no folder {run_dir}: give the folder that is to be published.")
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise PublishError(f"{destination} is not empty: stage into a new folder.")
    if destination.resolve().is_relative_to(run_dir.resolve()):
        raise PublishError(f"{destination} is inside {run_dir}, which is to be published: stage elsewhere.")


def _select(run_dir: Path, kind: Kind, code: list[str]) -> tuple[list[str], list[str]]:
    """The names of the files that are sent, and of those that are left out.

    Pickles, programs and credentials are refused even if they would be left out: an upload with another tool would
    include them.
    """
    patterns = (*ALLOWED[kind], *code)
    allowed: list[str] = []
    left_out: list[str] = []
    for path in _files(run_dir):
        name = path.relative_to(run_dir).as_posix()
        if path.is_symlink():
            _check_link(path, name, run_dir)
        check_regular(path, name)
        if name in (CARD, licenses.FILE):  # Read where the card is made.
            continue
        inner = name if kind == "model" else name.rpartition("/")[2]
        if any(_matches(inner, pattern) for pattern in patterns) and not inner.startswith("."):
            allowed.append(name)
            continue
        check_name(name)
        executables.check_beside(path, name, run_dir)
        left_out.append(name)
    return allowed, left_out


def _check_link(path: Path, name: str, run_dir: Path) -> None:
    """Refuses links to nothing, to folders, in loops, and out of the folder."""
    try:
        target = path.resolve()
    except (OSError, RuntimeError) as error:
        raise PublishError(f"{name} is a link to nothing, or to itself: remove it.") from error
    if not target.is_relative_to(run_dir.resolve()):
        raise PublishError(f"{name} is a link that leads out of {run_dir}: put the file itself there, or remove it.")
    if not path.is_file():
        raise PublishError(f"{name} is a link to nothing or to a folder: remove it.")


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
    """Copies what is sent; says in which records paths were shortened."""
    shortened = []
    for name in names:
        source, target = run_dir / name, destination / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix.lower() in _PICTURES:
            copy_picture(source, target, name)
        elif any(_matches(name, pattern) for pattern in RECORDS):
            text = source.read_bytes().decode("utf-8", errors="surrogateescape")
            if (without := anonymize(text)) != text:
                shortened.append(name)
            target.write_bytes(without.encode("utf-8", errors="surrogateescape"))
        else:
            shutil.copyfile(source, target)
    return [f"Paths of this machine were shortened in {', '.join(shortened)}."] if shortened else []


def _write(destination: Path, name: str, content: bytes) -> None:
    target = destination / name
    if not target.resolve().is_relative_to(destination.resolve()) or target.exists():
        raise PublishError(f"{name} cannot be added: it is there already, or leads out of the folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def _finish_model(run_dir: Path, destination: Path, repo_id: str, kind: Kind, options: CardOptions) -> list[str]:
    """Reads the facts, adds license and card, and checks the card; notes if no license was chosen."""
    card = options.card
    if card is None and (run_dir / CARD).is_file():
        card = _text(run_dir / CARD)
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
        raise PublishError(f"The card says {declared} and the license is {terms.name}: correct one of them.")
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


def _finish_folder(run_dir: Path, destination: Path, repo_id: str, kind: Kind, options: CardOptions) -> list[str]:
    """Adds the card of a Space or dataset, and the text of its license."""
    card = options.card
    if card is None:
        if not (run_dir / CARD).is_file():
            raise PublishError(f"{run_dir} has no {CARD}, by which the Hub knows a {kind}: write one.")
        card = _text(run_dir / CARD)
    declared = read_metadata(card).get("license")
    if not declared:
        raise PublishError(f"The {CARD} of {run_dir} names no license: add it to the metadata at its top.")
    if options.license not in (None, declared):
        raise PublishError(f"The card says {declared} and the license is {options.license}: correct one of them.")
    if kind == "space" or (run_dir / licenses.FILE).is_file() or declared == licenses.CODE_LICENSE:
        _write(destination, licenses.FILE, licenses.find_license(run_dir, str(declared)).text.encode())
    _write(destination, CARD, card.encode())
    return []


def _text(path: Path) -> str:
    check_regular(path, path.name)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PublishError(f"{path} is not UTF-8 text: write it again.") from error


def _empty(folder: Path) -> None:
    """Empties a folder, so that what was refused cannot be sent by mistake."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
