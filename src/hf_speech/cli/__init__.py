"""The command line: `hf-speech VERB`."""

from hf_speech.cli.app import main

__all__ = ["main"]
