"""Where a number comes from: versions, commit, data and machine.

A reader of a report can tell what was measured with what, and measure it again. Nothing here names the user's folders,
because reports are published.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from hf_speech.common.digests import digest_file
from hf_speech.common.fingerprint import weights_revision

PACKAGES = ("torch", "transformers", "datasets", "hf_speech")


def versions() -> dict[str, str]:
    """Versions of Python and the packages a figure depends on, and the commit when run from a checkout."""
    found = {"python": platform.python_version()}
    found |= {package: importlib.metadata.version(package) for package in PACKAGES}
    commit = git_commit()
    return found | ({"git_commit": commit} if commit else {})


def git_commit(file: Path = Path(__file__)) -> str | None:
    """The commit of the checkout in which `file` is tracked, marked `-dirty` if tracked files differ.

    An installed package may lie inside somebody else's checkout (`project/.venv`); its commit says nothing about
    this package, hence the question whether git tracks the very file.
    """

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(file.parent), *arguments], capture_output=True, text=True, timeout=30
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", file.name) is None:
        return None
    commit = git("rev-parse", "HEAD")
    return commit and commit + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else "")


def split_fingerprint(sources: Iterable[Any], references: Iterable[str]) -> str:
    """A checksum of what was evaluated: every sound's bytes and its reference.

    It depends neither on the files' folders nor on their order, and changes with any byte of any of them.
    """
    digests = sorted(
        hashlib.sha256(_sound_digest(source) + reference.encode()).digest()
        for source, reference in zip(sources, references, strict=True)
    )
    return f"sha256:{hashlib.sha256(b''.join(digests)).hexdigest()}"


def _sound_digest(source: Any) -> bytes:
    if isinstance(source, Mapping):
        if source.get("bytes") is not None:
            return hashlib.sha256(source["bytes"]).digest()
        source = source.get("path")
    path = Path(source or "")
    if not path.is_file():  # Skipped as unreadable, and counted: its absence is part of what was evaluated.
        return hashlib.sha256(b"").digest()
    return bytes.fromhex(digest_file(path))


def machine(device: torch.device) -> dict[str, Any]:
    """What a real-time factor depends on: the processor, and the threads that torch uses on it."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    return {"device": device.type, "processor": name, "threads": torch.get_num_threads()}


def processor_name() -> str:
    """The CPU's model name, as the system knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # Not Linux.
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


__all__ = ["git_commit", "machine", "processor_name", "split_fingerprint", "versions", "weights_revision"]
