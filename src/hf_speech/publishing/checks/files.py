"""The checks that a staged folder must pass, and what lies beside a run that stops it from being staged.

They read what would be sent, byte for byte, not what it was copied from. The first thing found ends in one sentence
that names the file and the remedy; a secret is never repeated.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from safetensors import safe_open
from transformers import AutoFeatureExtractor

import hf_speech.models  # which registers our feature extractor with the Auto class
from hf_speech.errors import PublishError
from hf_speech.publishing.checks.executables import is_archive, what_runs
from hf_speech.publishing.checks.formats import is_text, why_not
from hf_speech.publishing.checks.leaks import CREDENTIAL_FILES, find_path, find_secret

_BLOCK = 1 << 26  # bytes of a binary file that are searched at a time
_OVERLAP = 1 << 12


def check_files(folder: Path, max_file_bytes: int) -> None:
    """Refuses files that are not what they are called, run something, tell secrets or are too large.

    Args:
        folder: The staged folder.
        max_file_bytes: Size beyond which a file is refused.

    Raises:
        PublishError: On the first such file.
    """
    paths = [path for path in folder.rglob("*") if not path.is_dir()]
    # The card comes last: it repeats what other files say, and those are to be corrected.
    for path in sorted(paths, key=lambda path: (path.name == "README.md", path)):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not path.is_file():
            raise PublishError(f"{name} is a link or no file at all: put the file itself there.")
        size = path.stat().st_size
        if size > max_file_bytes:
            raise PublishError(
                f"{name} has {size:,} bytes, more than {max_file_bytes:,}: split it up (weights: "
                "save_pretrained(..., max_shard_size='1GB'))."
            )
        check_name(name)
        if (danger := what_runs(path)) is not None:
            raise PublishError(f"{name} is {danger}, which can run anything when it is opened: remove it.")
        if is_archive(path):
            raise PublishError(f"{name} hides an archive, in which anything could be: write the file again.")
        if (reason := why_not(path)) is not None:
            raise PublishError(f"{name} is not what its name says ({reason}): write it again, or remove it.")
        check_leaks(name, path)


def check_name(name: str) -> None:
    """Refuses files that are called as credentials are, and names that hold one.

    Args:
        name: The file's name relative to the folder.

    Raises:
        PublishError: With the remedy.
    """
    if CREDENTIAL_FILES.fullmatch(name.rpartition("/")[2]):
        raise PublishError(f"{name} is called as files of passwords and keys are: move it out of the folder.")
    if (found := find_secret(name)) is not None:
        raise PublishError(f"The name of a file in {name.rpartition('/')[0] or 'the folder'} has {found[0]} in it.")


def check_leaks(name: str, path: Path) -> None:
    """Refuses a file that tells a secret, or where things lie on this machine.

    Raises:
        PublishError: Saying what and in which line, and never the secret.
    """
    for text, where in _texts(path):
        if (secret := find_secret(text)) is not None:
            place = f", line {secret[1]}" if where == "line" else where
            raise PublishError(
                f"{name}{place}, has {secret[0]}: take it out, and have it revoked if others could read it."
            )
        if (location := find_path(text)) is not None:
            place = f", line {location[1]}" if where == "line" else where
            raise PublishError(
                f"{name}{place}, names {location[0]}, a place on this machine: write a relative path instead."
            )


def check_beside(folder: Path, names: Iterable[str]) -> None:
    """Refuses to publish from a folder in which credentials or pickles lie about, though they would not be sent.

    They have no business beside a model, and the next upload by other means would take them along.

    Args:
        folder: The run folder.
        names: Files that staging leaves out.

    Raises:
        PublishError: On the first such file.
    """
    for name in names:
        check_name(name)
        if (danger := what_runs(folder / name)) is not None:
            raise PublishError(
                f"{name} is {danger}, which can run anything when it is opened: delete it, or move it out of {folder}."
            )


def check_sizes(folder: Path) -> None:
    """Refuses a feature extractor or vocabulary that does not fit the model.

    Raises:
        PublishError: Naming both sizes.
    """
    config = _read(folder / "config.json")
    extractor = _read(folder / "preprocessor_config.json")
    if extractor.get("feature_extractor_type") == hf_speech.models.SpeechFeatureExtractor.__name__:
        try:
            # What it really makes, not what its file says that it makes.
            made = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
        except (OSError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise PublishError(
                f"preprocessor_config.json makes no feature extractor ({reason}): save it again."
            ) from error
        extractor |= {"feature_size": made.feature_size, "hop_length": made.hop_length}
    for ours, theirs, what in (
        ("input_size", "feature_size", "features a frame"),
        ("hop_length", "hop_length", "samples from frame to frame"),
    ):
        if ours in config and theirs in extractor and config[ours] != extractor[theirs]:
            raise PublishError(
                f"The model expects {config[ours]} {what} and the feature extractor gives {extractor[theirs]}: save "
                "the extractor that it was trained with."
            )
    vocabulary = _read(folder / "vocab.json") if (folder / "vocab.json").is_file() else None
    if vocabulary is not None and "vocab_size" in config and len(vocabulary) != config["vocab_size"]:
        raise PublishError(
            f"The model writes {config['vocab_size']} tokens and vocab.json has {len(vocabulary)}: save the tokenizer "
            "that it was trained with."
        )


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """What can be read in a file, and where: "line" if lines can be named."""
    if is_text(path.name):
        text = path.read_text(encoding="utf-8")
        yield text, "line"
        if path.suffix == ".json" and "\\" in text:  # Quotes, and perhaps letters, are written as escapes.
            yield "\n".join(_values(json.loads(text))), " (a value)"
    elif path.suffix == ".safetensors":
        with safe_open(path, framework="numpy") as file:
            yield json.dumps([file.metadata(), list(file.keys())]), " (its header)"
    else:
        if path.suffix == ".parquet":
            yield from ((text, " (a column)") for text in _strings(path))
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            for start in range(0, size, _BLOCK):
                stream.seek(max(0, start - _OVERLAP))
                yield stream.read(_BLOCK + _OVERLAP).decode("latin-1"), ""


def _values(content: Any) -> Iterator[str]:
    """The keys and strings of a JSON file."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield key
            yield from _values(value)
    elif isinstance(content, list):
        for value in content:
            yield from _values(value)
    elif isinstance(content, str):
        yield content


def _strings(path: Path) -> Iterator[str]:
    """The strings of a Parquet table, a batch at a time; those inside structs too, but no sounds."""
    for batch in pyarrow.parquet.ParquetFile(path).iter_batches():
        for column in pyarrow.Table.from_batches([batch]).flatten().columns:
            if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type):
                yield "\n".join(value for value in column.to_pylist() if value)


__all__ = ["check_beside", "check_files", "check_leaks", "check_name", "check_sizes"]
