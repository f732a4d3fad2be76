"""Checks that the content of each file matches its name.

Only the file types listed here are published, and each file is opened: JSON must parse, YAML must not create Python
objects, weights must be complete safetensors, images must not have trailing data, recordings must have a header.
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
    """Rejects links, files that are not regular, and files that are too large."""
    for path in upload.files():
        name = upload.name(path)
        if path.is_symlink():
            raise PublishError(f"{name} is a link: replace it by the file itself.")
        check_regular(path, name)
        if (size := path.stat().st_size) > upload.max_file_bytes:
            raise PublishError(
                f"{name} has {size:,} bytes, more than {upload.max_file_bytes:,}: split it (weights: "
                "save_pretrained(..., max_shard_size='1GB'))."
            )


def check_content(upload: Upload) -> None:
    """Rejects files whose content does not match their name."""
    for path in upload.files():
        if (reason := format_error(path)) is not None:
            raise PublishError(invalid_file(upload.name(path), reason))


def invalid_file(name: str, reason: str) -> str:
    """Returns the message about a file whose content does not match its name."""
    return f"{name} is not a valid file of its type ({reason}): write it again or remove it."


def is_text(name: str) -> bool:
    """Returns whether a file of this name must be a text file."""
    path = Path(name)
    return path.suffix.lower() in TEXT_SUFFIXES or path.name in TEXT_NAMES or path.name.startswith("LICENSE")


def read_text(path: Path) -> str:
    """Reads a text file.

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
    """Describes how a file's content differs from its name.

    Returns:
        A reason such as "it is not JSON"; None for a valid file.
    """
    suffix = path.suffix.lower()
    try:
        if is_text(path.name):
            text = read_text(path)
            if suffix in _TEXTS:
                _TEXTS[suffix](text)
        elif suffix in AUDIO_SUFFIXES:
            _check_audio(path)
        elif suffix in _BINARIES:
            _BINARIES[suffix](path)
        else:
            return f"files of this kind ({suffix or 'without a suffix'}) are not published"
    except ValueError as error:
        return str(error)
    return None


def _check_json(text: str) -> None:
    def reject(constant: str) -> None:
        raise ValueError(f"it contains {constant}, which is not valid JSON")

    try:
        json.loads(text, parse_constant=reject)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON ({error.msg}, line {error.lineno})") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _check_yaml(text: str) -> None:
    try:
        yaml.safe_load(text)
    except yaml.constructor.ConstructorError as error:  # Tags such as `!!python/object`.
        raise ValueError(f"it creates Python objects when it is loaded ({error.problem})") from error
    except yaml.YAMLError as error:
        raise ValueError("it is not YAML") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _check_python(text: str) -> None:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError("it is not Python") from error


def _check_svg(text: str) -> None:
    lowered = text.lower()
    if "<svg" not in lowered:
        raise ValueError("it is not SVG")
    if "<script" in lowered or "javascript:" in lowered or re.search(r"\son\w+\s*=|<foreignobject|<!entity", lowered):
        raise ValueError("it contains a script")


def _check_safetensors(path: Path) -> None:
    try:
        with safe_open(path, framework="numpy") as file:
            if not list(file.keys()):
                raise ValueError("it contains no weights")
    except SafetensorError as error:
        raise ValueError("it is not a safetensors file") from error


def _check_audio(path: Path) -> None:
    try:
        soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise ValueError("it is not an audio file") from error


def _check_onnx(path: Path) -> None:
    try:
        open_file(path, "")
    except ModelError as error:
        raise ValueError("it is not an exported model") from error


def _delimited(description: str, start: bytes, end: bytes) -> Callable[[Path], None]:
    """Returns a check of a format by the bytes with which its files start and end."""

    def check(path: Path) -> None:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(len(start))
            stream.seek(max(0, size - len(end)))
            if head != start or stream.read() != end:
                raise ValueError(f"it is not {description}, or data follows its end")

    return check


_TEXTS: dict[str, Callable[[str], None]] = {
    ".json": _check_json,
    ".yaml": _check_yaml,
    ".yml": _check_yaml,
    ".py": _check_python,
    ".svg": _check_svg,
    ".webmanifest": _check_json,
}
_BINARIES: dict[str, Callable[[Path], None]] = {
    ".safetensors": _check_safetensors,
    ".ngram": _check_safetensors,
    ".onnx": _check_onnx,
    ".png": _delimited("a PNG image", b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"),
    ".jpg": _delimited("a JPEG image", b"\xff\xd8\xff", b"\xff\xd9"),
    ".gif": _delimited("a GIF image", b"GIF8", b";"),
    ".parquet": _delimited("a Parquet table", b"PAR1", b"PAR1"),
}
