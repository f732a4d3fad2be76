"""`python -m hf_speech.cli` runs the command line."""

from hf_speech.cli.app import main

if __name__ == "__main__":
    main()
