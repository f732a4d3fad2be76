"""Checks that the Hub can build a Space reproducibly: front matter, Python files, requirements."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hf_speech.errors import PublishError
from hf_speech.publishing.checks.remote_code import check_listed, imports_of
from hf_speech.publishing.checks.structure import read_metadata
from hf_speech.publishing.checks.upload import CARD, Upload

SDKS = ("gradio", "docker", "static")
COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
MAX_DESCRIPTION = 60
# Packages installed in every Gradio Space.
PREINSTALLED = frozenset({"gradio", "huggingface-hub", "spaces"})


def check(upload: Upload) -> None:
    """Rejects a Space with imports that its requirements.txt does not list."""
    if upload.kind == "space":
        requirements = upload.folder / "requirements.txt"
        listed = requirements.read_text(encoding="utf-8") if requirements.is_file() else ""
        check_listed(upload.folder, listed, PREINSTALLED)


def check_space(folder: Path) -> None:
    """Rejects a Space that the Hub cannot build, or might build differently later.

    Raises:
        PublishError: If a key of the front matter is missing or wrong, a Python file cannot be parsed, or a
            requirement is not pinned.
    """
    metadata = read_metadata((folder / CARD).read_text(encoding="utf-8"))
    for problem in _front_matter_problems(metadata, folder):
        raise PublishError(f"The front matter of the Space's README.md {problem}")
    for path in sorted(folder.rglob("*.py")):
        imports_of(path)
    requirements = folder / "requirements.txt"
    lines = requirements.read_text(encoding="utf-8").splitlines() if requirements.is_file() else []
    for line in (line.partition("#")[0].strip() for line in lines):
        if line and not re.match(r"[\w.-]+(\[[\w.,\s-]+\])?\s*==\s*[\w.!+]+\s*(;.*)?$", line):
            raise PublishError(
                f"requirements.txt of the Space does not pin the version of '{line}': write NAME==VERSION, so that "
                "later builds are the same."
            )
        sdk = re.match(r"gradio(?:\[.*\])?\s*==\s*([\w.]+)", line)
        if sdk and metadata["sdk"] == "gradio" and sdk[1] != str(metadata["sdk_version"]):
            raise PublishError(
                f"requirements.txt of the Space requires gradio {sdk[1]}, but its sdk_version is "
                f"{metadata['sdk_version']}: use the same version in both."
            )


def _front_matter_problems(metadata: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Yields each missing or wrong key, as the end of a sentence about the front matter."""
    sdk = metadata.get("sdk")
    if sdk not in SDKS:
        yield f"has sdk: {sdk}: use one of {', '.join(SDKS)}."
    required = ["title", "license", "short_description", "models"]
    required += ["sdk_version", "python_version", "app_file"] if sdk == "gradio" else []
    for key in required:
        if not metadata.get(key):
            yield f"has no {key}: add it."
    if len(str(metadata.get("short_description"))) > MAX_DESCRIPTION:
        length = len(str(metadata["short_description"]))
        yield f"has a short_description of {length} characters: shorten it to {MAX_DESCRIPTION}, the Hub's limit."
    if isinstance(metadata.get("python_version"), float):
        yield "has a python_version without quotation marks, which YAML reads as a number: write it as '3.11'."
    app_file = str(metadata.get("app_file") or "app.py")
    if sdk == "gradio" and not (folder / app_file).is_file():
        yield f"names the app_file {app_file}, which does not exist: correct it."
    for key in ("colorFrom", "colorTo"):
        if metadata.get(key) is not None and metadata[key] not in COLORS:
            yield f"has {key}: {metadata[key]}: use one of {', '.join(COLORS)}."
