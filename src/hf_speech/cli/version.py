"""`hf-speech version`."""

from __future__ import annotations

from hf_speech import __version__
from hf_speech.common.console import echo

PACKAGES = ("torch", "torchaudio", "transformers", "datasets", "accelerate", "huggingface_hub")


def version() -> None:
    """Print the versions of hf_speech and its libraries."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    echo(f"hf_speech {__version__}")
    for package in PACKAGES:
        try:
            echo(f"{package} {installed(package)}")
        except PackageNotFoundError:  # torchaudio is removed where it does not load.
            echo(f"{package} is not installed")
