"""Checks that the Hub can build a Space, reproducibly: front matter, programs, requirements."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hf_speech.errors import PublishError
from hf_speech.publishing.checks.remote_code import check_listed
from hf_speech.publishing.checks.structure import read_metadata
from hf_speech.publishing.checks.upload import CARD, Upload

SDKS = ("gradio", "docker", "static")
COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
MAX_DESCRIPTION = 60
# Packages that every Space has.
PREINSTALLED = frozenset({"gradio", "huggingface-hub", "spaces"})


def check(upload: Upload) -> None:
    """Refuses a Space that imports what its requirements.txt does not list."""
    if upload.kind == "space":
        requirements = upload.folder / "requirements.txt"
        listed = requirements.read_text(encoding="utf-8") if requirements.is_file() else ""
        check_listed(upload.folder, listed, PREINSTALLED)


def check_space(folder: Path) -> None:
    """Refuses a Space that the Hub would not build, or might build differently tomorrow.

    Raises:
        PublishError: For the first key of the front matter that is missing or wrong, the first program that cannot be
            parsed, the first requirement without a version.
    """
    metadata = read_metadata((folder / CARD).read_text(encoding="utf-8"))
    for problem in _front_matter_problems(metadata, folder):
        raise PublishError(f"The front matter of the Space's README.md {problem}")
    for path in sorted(folder.rglob("*.py")):
        try:
            ast.parse(path.read_bytes())
        except (SyntaxError, ValueError) as error:
            name = path.relative_to(folder).as_posix()
            raise PublishError(f"{name} of the Space is not Python ({error}): correct it.") from error
    requirements = folder / "requirements.txt"
    lines = requirements.read_text(encoding="utf-8").splitlines() if requirements.is_file() else []
    for line in (line.partition("#")[0].strip() for line in lines):
        if line and not re.match(r"[\w.-]+(\[[\w.,\s-]+\])?\s*==\s*[\w.!+]+\s*(;.*)?$", line):
            raise PublishError(
                f"requirements.txt of the Space asks for '{line}' without saying which version: write NAME==VERSION, "
                "so that it is built the same way tomorrow."
            )
        sdk = re.match(r"gradio(?:\[.*\])?\s*==\s*([\w.]+)", line)
        if sdk and metadata["sdk"] == "gradio" and sdk[1] != str(metadata["sdk_version"]):
            raise PublishError(
                f"requirements.txt of the Space asks for gradio {sdk[1]} and its sdk_version is "
                f"{metadata['sdk_version']}: make them the same."
            )


def _front_matter_problems(metadata: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """What is missing or wrong, each as the rest of a sentence."""
    sdk = metadata.get("sdk")
    if sdk not in SDKS:
        yield f"has sdk: {sdk}: take one of {', '.join(SDKS)}."
    needed = ["title", "license", "short_description", "models"]
    needed += ["sdk_version", "python_version", "app_file"] if sdk == "gradio" else []
    for key in needed:
        if not metadata.get(key):
            yield f"has no {key}: add it."
    if len(str(metadata.get("short_description"))) > MAX_DESCRIPTION:
        length = len(str(metadata["short_description"]))
        yield f"has a short_description of {length} characters: the Hub takes {MAX_DESCRIPTION} at most."
    if isinstance(metadata.get("python_version"), float):
        yield "has a python_version without quotation marks, which YAML reads as a number: write '3.11'."
    app_file = str(metadata.get("app_file") or "app.py")
    if sdk == "gradio" and not (folder / app_file).is_file():
        yield f"names the app_file {app_file}, which is not there: correct it."
    for key in ("colorFrom", "colorTo"):
        if metadata.get(key) is not None and metadata[key] not in COLORS:
            yield f"has {key}: {metadata[key]}: take one of {', '.join(COLORS)}."
