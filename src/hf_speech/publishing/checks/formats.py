"""Checks that the content of each file matches its name.

Only the kinds of files listed here are ever published, and each is read: JSON parses, YAML names no Python objects,
weights are complete safetensors, images have no trailing data, recordings have a header. So no file of another
kind is published under a harmless name.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path

import soundfile
import yaml
from safetensors import SafetensorError, safe_open

from hf_speech.errors import ModelError, PublishError
from hf_speech.inference.onnx_description import open_file
from hf_speech.publishing.checks.structure import check_regular
from hf_speech.publishing.checks.upload import Upload

TEXT_SUFFIXES = frozenset(
    {
        *(".json", ".yaml", ".yml", ".md", ".txt", ".csv", ".py", ".arpa", ".css", ".js", ".html", ".svg"),
        ".webmanifest",
    }
)
AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3"})
# Files without a suffix that are text.
TEXT_NAMES = frozenset({"LICENSE", "NOTICE", ".gitattributes"})


def check(upload: Upload) -> None:
    """Refuses files that are not what they are called, are not regular files, or are too large."""
    for path in upload.files():
        name = upload.name(path)
        if path.is_symlink():
            raise PublishError(f"{name} is a link or no file at all: put the file itself there.")
        check_regular(path, name)
        if (size := path.stat().st_size) > upload.max_file_bytes:
            raise PublishError(
                f"{name} has {size:,} bytes, more than {upload.max_file_bytes:,}: split it up (weights: "
                "save_pretrained(..., max_shard_size='1GB'))."
            )


def check_content(upload: Upload) -> None:
    """Refuses files whose content is not what their names say."""
    for path in upload.files():
        if (reason := format_error(path)) is not None:
            name = upload.name(path)
            raise PublishError(f"{name} is not what its name says ({reason}): write it again, or remove it.")


def is_text(name: str) -> bool:
    """Whether a file of this name is to be text."""
    path = Path(name)
    return path.suffix.lower() in TEXT_SUFFIXES or path.name in TEXT_NAMES or path.name.startswith("LICENSE")


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        ValueError: If it is not UTF-8 text.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8 text") from error
    if "\0" in text:
        raise ValueError("it is binary")
    return text


def format_error(path: Path) -> str | None:
    """Why a file is not what its name says.

    Returns:
        "it is not JSON"; None if it is what it is called.
    """
    suffix = path.suffix.lower()
    try:
        if is_text(path.name):
            text = read_text(path)
            if suffix in _TEXTS:
                _TEXTS[suffix](text)
        elif suffix in AUDIO_SUFFIXES:
            _audio(path)
        elif suffix in _BINARIES:
            _BINARIES[suffix](path)
        else:
            return f"files of this kind ({suffix or 'without a suffix'}) are not published"
    except ValueError as error:
        return str(error)
    return None


def _json(text: str) -> None:
    def refuse(constant: str) -> None:
        raise ValueError(f"it has {constant}, which JSON does not know")

    try:
        json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON ({error.msg}, line {error.lineno})") from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _yaml(text: str) -> None:
    try:
        yaml.safe_load(text)
    except yaml.constructor.ConstructorError as error:  # `!!python/object` and its like.
        raise ValueError(f"it makes Python objects when it is read ({error.problem})") from error
    except yaml.YAMLError as error:
        raise ValueError("it is not YAML") from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _python(text: str) -> None:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError("it is not Python") from error


def _svg(text: str) -> None:
    lowered = text.lower()
    if "<svg" not in lowered:
        raise ValueError("it is not SVG")
    if "<script" in lowered or "javascript:" in lowered or re.search(r"\son\w+\s*=|<foreignobject|<!entity", lowered):
        raise ValueError("it runs a script")


def _safetensors(path: Path) -> None:
    try:
        with safe_open(path, framework="numpy") as file:
            if not list(file.keys()):
                raise ValueError("it holds no weights")
    except SafetensorError as error:
        raise ValueError("it is not a safetensors file") from error


def _audio(path: Path) -> None:
    try:
        soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise ValueError("it is not a sound file") from error


def _onnx(path: Path) -> None:
    try:
        open_file(path, "")
    except ModelError as error:
        raise ValueError("it is not an exported model") from error


def _framed(what: str, begins: bytes, ends: bytes) -> Callable[[Path], None]:
    """A check of a format by the bytes with which its files begin and end."""

    def check(path: Path) -> None:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(len(begins))
            stream.seek(max(0, size - len(ends)))
            if head != begins or stream.read() != ends:
                raise ValueError(f"it is not {what}, or something follows its end")

    return check


_TEXTS: dict[str, Callable[[str], None]] = {
    ".json": _json,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".py": _python,
    ".svg": _svg,
    ".webmanifest": _json,
}
_BINARIES: dict[str, Callable[[Path], None]] = {
    ".safetensors": _safetensors,
    ".ngram": _safetensors,
    ".onnx": _onnx,
    ".png": _framed("a PNG picture", b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"),
    ".jpg": _framed("a JPEG picture", b"\xff\xd8\xff", b"\xff\xd9"),
    ".gif": _framed("a GIF picture", b"GIF8", b";"),
    ".parquet": _framed("a Parquet table", b"PAR1", b"PAR1"),
}
