"""`hf-speech version`."""

from __future__ import annotations

from hf_speech.common.console import echo

PACKAGES = ("hf_speech", "torch", "torchaudio", "transformers", "datasets", "accelerate", "huggingface_hub")


def version() -> None:
    """Print the versions of this package and of the main libraries below it."""
    from importlib.metadata import version as installed

    for package in PACKAGES:
        echo(f"{package} {installed(package)}")
