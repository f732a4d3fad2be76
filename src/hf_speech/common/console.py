"""Console output: always UTF-8, never an escape sequence from a file, never an error about an encoding."""

from __future__ import annotations

import io
import sys

from hf_speech.common.text import printable


def use_utf8() -> None:
    """Makes this process's output UTF-8, whatever the locale says; call it at a program's start, not in a library."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def echo(text: object = "", *, error: bool = False, end: str = "\n") -> None:
    """Prints text with control characters written out, and with escapes for what the stream's encoding lacks.

    Args:
        text: What to print; names from outside may be part of it.
        error: Whether to print on standard error.
        end: What follows the text.
    """
    stream = sys.stderr if error else sys.stdout
    shown = printable(str(text)) + end
    try:
        stream.write(shown)
    except UnicodeEncodeError:
        stream.write(shown.encode(stream.encoding, "backslashreplace").decode(stream.encoding))
    stream.flush()
