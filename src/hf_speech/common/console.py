"""Console output that never fails on an encoding and never prints control characters from a file."""

from __future__ import annotations

import io
import sys

from hf_speech.common.text import printable


def use_utf8() -> None:
    """Switches standard output and error to UTF-8, whatever the locale. For programs, not for library code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def echo(text: object = "", *, error: bool = False, end: str = "\n") -> None:
    """Prints text, with control characters and characters that the stream cannot encode as escapes.

    Args:
        text: The text, which may include untrusted names.
        error: Whether to print to standard error.
        end: The string to print after the text.
    """
    stream = sys.stderr if error else sys.stdout
    shown = printable(str(text)) + end
    try:
        stream.write(shown)
    except UnicodeEncodeError:
        stream.write(shown.encode(stream.encoding, "backslashreplace").decode(stream.encoding))
    stream.flush()
