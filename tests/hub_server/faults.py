"""Faults that the loopback Hub can inject, a number of times or until they are removed.

Faults are checked before a request is answered. Each one selects requests by method and path.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

COMMIT = r"/commit/"
UPLOAD = r"^/large/"
DOWNLOAD = r"^/cdn/"
XET_WRITE = r"/xet-write-token/"


@dataclass
class Fault:
    """A fault to inject.

    Attributes:
        method: The method of the affected requests.
        path: A regular expression that is searched in their path.
        action: "answer" only answers; "cut" breaks the connection within the body, "cut after" after the request was
            handled; "no space" fails to write; "corrupt" changes a byte of an upload or download; "first" runs `first`
            before the request is handled.
        times: Number of times; -1 for always.
        skip: Number of requests to skip first.
        status: Status of the answer.
        headers: Headers of the answer.
        message: Message of the answer.
        first: The function for the action "first".
    """

    method: str
    path: str
    action: Literal["answer", "cut", "cut after", "no space", "corrupt", "first"]
    times: int = 1
    skip: int = 0
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    message: str = ""
    first: Callable[[], object] | None = None
    met: int = 0

    def strikes(self, method: str, path: str) -> bool:
        """Returns whether to inject the fault into a request, and counts it."""
        if method != self.method or not re.search(self.path, path) or self.times == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1 if self.times > 0 else 0
        self.met += 1
        return True


def commit_unavailable(times: int = 1) -> Fault:
    """503 for a commit."""
    return Fault("POST", COMMIT, "answer", times, status=503, message="Service Unavailable")


def commit_answer_lost() -> Fault:
    """The commit is made, but the connection breaks before the answer."""
    return Fault("POST", COMMIT, "cut after")


def rate_limited(seconds: int, times: int = 1) -> Fault:
    """429 for a commit, with the time to wait."""
    headers = {"Retry-After": str(seconds)}
    return Fault("POST", COMMIT, "answer", times, status=429, headers=headers, message="Too Many Requests")


def somebody_commits_first(do: Callable[[], object]) -> Fault:
    """A foreign commit arrives just before ours, whose parent is then stale."""
    return Fault("POST", COMMIT, "first", first=do)


def commit_disk_full(times: int = 1) -> Fault:
    """No space for the files of a commit."""
    return Fault("POST", COMMIT, "no space", times)


def upload_error(times: int = 1, skip: int = 0) -> Fault:
    """500 for the PUT of a large file."""
    return Fault("PUT", UPLOAD, "answer", times, skip, status=500, message="Internal Server Error")


def upload_cut(times: int = 1, skip: int = 0) -> Fault:
    """The connection breaks in the middle of a large file."""
    return Fault("PUT", UPLOAD, "cut", times, skip)


def upload_disk_full(times: int = 1) -> Fault:
    """No space for a large file."""
    return Fault("PUT", UPLOAD, "no space", times)


def upload_corrupted(times: int = 1) -> Fault:
    """A byte of a large file is corrupted during the upload."""
    return Fault("PUT", UPLOAD, "corrupt", times)


def download_corrupted(times: int = 1) -> Fault:
    """A byte of a large file is corrupted during the download."""
    return Fault("GET", DOWNLOAD, "corrupt", times)


def xet_token_error(times: int = 1) -> Fault:
    """500 for the request of Xet access."""
    return Fault("GET", XET_WRITE, "answer", times, status=500, message="Internal Server Error")
