"""The provenance of a measurement: versions, commit, data and machine, so that it can be repeated.

Reports are published, so nothing in them names the user's folders.
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

PACKAGES = ("torch", "transformers", "datasets", "hf_speech")


def versions() -> dict[str, str]:
    """Returns the versions of Python and the main packages and, in a checkout, the commit."""
    installed = {"python": platform.python_version()}
    installed |= {package: importlib.metadata.version(package) for package in PACKAGES}
    commit = git_commit()
    return installed | ({"git_commit": commit} if commit else {})


def git_commit(file: Path = Path(__file__)) -> str | None:
    """Returns the commit of the checkout that tracks `file`, with `-dirty` appended if tracked files are modified.

    Returns None if git does not track the file, for example if the package is installed in the virtual environment of
    another project's checkout.
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
    """Returns a checksum of the bytes of all sounds and their references, whatever their folders and order."""
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
    if not path.is_file():  # Unreadable files are skipped, but still count in the checksum.
        return hashlib.sha256(b"").digest()
    return bytes.fromhex(digest_file(path))


def machine(device: torch.device) -> dict[str, Any]:
    """Returns the conditions of a real-time factor: the processor and the number of PyTorch threads."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    return {"device": device.type, "processor": name, "threads": torch.get_num_threads()}


def processor_name() -> str:
    """Returns the model name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # Not Linux.
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
