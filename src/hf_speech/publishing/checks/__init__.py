"""The checks before an upload. `CHECKS` lists the checks in the order in which they run.

A check takes the `Upload`, a staged folder, reads what would be sent, byte for byte, and raises `PublishError` with one
sentence that names the file and how to fix it. A new check is one module here and its entry.
"""

from __future__ import annotations

from collections.abc import Callable

from hf_speech.publishing.checks import executables, formats, markup, parts, places, remote_code, secrets, spaces
from hf_speech.publishing.checks.upload import Upload

CHECKS: tuple[Callable[[Upload], None], ...] = (
    formats.check,  # Are they files at all? The others open them.
    executables.check,
    formats.check_content,
    secrets.check,
    places.check,
    markup.check,
    remote_code.check,
    spaces.check,
    parts.check,
)


def run_checks(upload: Upload) -> None:
    """Runs all checks over a staged folder."""
    for check in CHECKS:
        check(upload)


__all__ = ["CHECKS", "run_checks"]
