"""The checks that run before an upload, in the order of `CHECKS`.

Each check reads the files of a staged folder (an `Upload`) and raises `PublishError` with one sentence that names the
file and the remedy. To add a check, add a module here and its entry in `CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable

from hf_speech.publishing.checks import executables, formats, markup, private_paths, remote_code, secrets, sizes, spaces
from hf_speech.publishing.checks.upload import Upload

CHECKS: tuple[Callable[[Upload], None], ...] = (
    formats.check,  # First: rejects anything but regular files, which the other checks open.
    executables.check,
    formats.check_content,
    secrets.check,
    private_paths.check,
    markup.check,
    remote_code.check,
    spaces.check,
    sizes.check,
)


def run_checks(upload: Upload) -> None:
    """Runs all checks on a staged folder."""
    for check in CHECKS:
        check(upload)
