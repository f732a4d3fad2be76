"""`python -m hf_speech.cli` is `hf-speech`."""

from hf_speech.cli.app import main

main()
