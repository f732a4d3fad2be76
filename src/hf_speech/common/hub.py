"""Repositories on the Hub, with one-sentence errors for failures of the Hub or the connection.

Files are compared by the checksums that the Hub lists (git's SHA-1 for a regular file, SHA-256 for a large one), so no
download is needed to find changes. huggingface_hub finds the token (`hf auth login`, `HF_TOKEN`); this module neither
stores nor shows it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi, RepoFile, constants, get_token, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hf_speech.errors import PublishError

Kind = Literal["model", "space", "dataset"]

# Hub errors derive from the classes of its HTTP library, which differs between versions, and from OSError.
_ERRORS: tuple[type[Exception], ...] = (*HfHubHTTPError.__bases__, RuntimeError, ValueError)
# huggingface_hub raises these for JSON of an unexpected shape.
_RESPONSE_ERRORS = (LookupError, TypeError, AttributeError, ArithmeticError, AssertionError)
_KIND_NAMES = {"model": "model", "space": "Space", "dataset": "dataset"}


@dataclass(frozen=True)
class State:
    """The state of a repository at one revision.

    Attributes:
        commit: The commit sha of the revision.
        private: Whether the repository is private.
        files: The Hub's checksum of each file; see `Checksums`.
        tags: The commit of each tag.
    """

    commit: str
    private: bool
    files: dict[str, str]
    tags: dict[str, str]


@dataclass(frozen=True)
class Checksums:
    """Both checksums that the Hub may list for a file."""

    sha1: str
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Checksums:
        """Computes both checksums while reading the file once."""
        sha1, sha256 = hashlib.sha1(b"blob %d\0" % path.stat().st_size), hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                sha1.update(block)
                sha256.update(block)
        return cls(sha1.hexdigest(), sha256.hexdigest())

    def match(self, listed: str | None) -> bool:
        """Returns whether the Hub's checksum is one of these."""
        return listed in (self.sha1, self.sha256)


@dataclass(frozen=True)
class Repository:
    """A repository on the Hub.

    Attributes:
        name: `NAME/REPO`.
        kind: model, space or dataset.
    """

    name: str
    kind: Kind = "model"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", self.name):
            raise PublishError(
                f"'{self.name}' is not the name of a repository: write OWNER/NAME, such as YOUR_LOGIN/my-model."
            )

    @property
    def url(self) -> str:
        """The URL of the repository's page."""
        prefix = {"model": "", "space": "spaces/", "dataset": "datasets/"}[self.kind]
        return f"{constants.ENDPOINT}/{prefix}{self.name}"

    @property
    def description(self) -> str:
        """The repository's description in messages, such as `the model NAME/REPO`."""
        return f"the {_KIND_NAMES[self.kind]} {self.name}"

    def fetch_state(self, revision: str | None = None) -> State | None:
        """Returns the current state; None if the repository does not exist or this login may not see it.

        Raises:
            PublishError: If the request fails, or the repository has no such revision.
        """
        api = HfApi()
        with self.readable_errors(revision):
            try:
                info = api.repo_info(self.name, repo_type=self.kind, revision=revision)
            except GatedRepoError:
                raise
            except RepositoryNotFoundError:
                return None
            if not isinstance(info.sha, str):
                raise TypeError(f"the commit is {info.sha!r}")
            entries = api.list_repo_tree(self.name, recursive=True, revision=info.sha, repo_type=self.kind)
            files = {
                entry.path: entry.blob_id if entry.lfs is None else entry.lfs.sha256
                for entry in entries
                if isinstance(entry, RepoFile)
            }
            refs = api.list_repo_refs(self.name, repo_type=self.kind)
            return State(info.sha, bool(info.private), files, {tag.name: tag.target_commit for tag in refs.tags})

    def read(self, path: str, state: State) -> bytes | None:
        """Returns the content of a small file, or None if it does not exist."""
        if path not in state.files:
            return None
        with self.readable_errors():
            try:
                file = hf_hub_download(self.name, path, repo_type=self.kind, revision=state.commit)
            except EntryNotFoundError:
                return None
        return Path(file).read_bytes()

    def read_card(self, state: State | None) -> str | None:
        """Returns the text of README.md; None if there is no repository or no such file."""
        content = None if state is None else self.read("README.md", state)
        return None if content is None else content.decode("utf-8", errors="replace")

    @contextmanager
    def readable_errors(self, revision: str | None = None) -> Iterator[None]:
        """Converts huggingface_hub errors in the block to a `PublishError` with one sentence and a remedy."""
        try:
            yield
        except PublishError:
            raise
        except _ERRORS as error:
            raise PublishError(self._sentence(error, revision)) from error
        except _RESPONSE_ERRORS as error:
            raise PublishError(_unexpected_response(error)) from error

    def _sentence(self, error: Exception, revision: str | None) -> str:
        chain = list(_causes(error))
        if isinstance(error, json.JSONDecodeError):
            return _unexpected_response(error)
        if isinstance(error, ValueError) and "Invalid metadata" in str(error):
            problems = " ".join(str(error).partition("\n")[2].split())[:200].lstrip("- ").rstrip(".")
            return f"The Hub rejected the metadata in the README.md of {self.description} ({problems}): correct it."
        for cause in chain:
            if isinstance(cause, RevisionNotFoundError):
                return f"{self.name} has no revision {revision}: give an existing branch, tag or commit."
            if isinstance(cause, HfHubHTTPError):
                return self._http_sentence(cause)
        for cause in chain:
            if isinstance(cause, LocalTokenNotFoundError):
                return NOT_LOGGED_IN
            if isinstance(cause, OfflineModeIsEnabled):
                return OFFLINE
            if isinstance(cause, HFValidationError):
                return f"{_first_sentence(cause)}: give --repo_id NAME/REPO."
            if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
                return "The disk of this machine is full: free some space and run the command again."
        return (
            f"The connection to the Hub failed ({_first_sentence(chain[-1])}): check the network and run the same "
            "command again, which uploads only missing files."
        )

    def _http_sentence(self, error: HfHubHTTPError) -> str:
        status = error.response.status_code
        reason = _first_sentence(error.server_message or error)
        again = "run the same command again, which uploads only missing files"
        if isinstance(error, GatedRepoError):
            return f"{self.name} is gated: request access at {self.url} and log in with hf auth login."
        if isinstance(error, RepositoryNotFoundError) and get_token() is not None:
            return (
                f"There is no {_KIND_NAMES[self.kind]} {self.name} that this login may see: check the name and the "
                "login."
            )
        if status == 401 or isinstance(error, RepositoryNotFoundError):
            return "The Hub rejected this login: run hf auth login, or set HF_TOKEN to a valid token."
        if status == 403:
            return (
                f"This login may not write to {self.name} ({reason}){_login()}: use a token with write access to it "
                f"({constants.ENDPOINT}/settings/tokens), or a --repo_id that it may write to."
            )
        sentences = {
            402: _needs_plan(self, reason),
            409: f"{self.name} is being changed or already exists ({reason}): {again}.",
            412: f"{self.name} was changed in the meantime, so nothing was sent: run the same command again to start "
            "from its current state.",
            413: f"The upload is too large for {self.name} ({reason}): upload less, or get more storage, and {again}.",
            422: f"A file arrived at the Hub damaged ({reason}): {again}.",
            429: f"The Hub received too many requests: wait {_retry_delay(error)} and {again}.",
            507: f"The Hub has no space left for {self.name} ({reason}): free or get some, and {again}.",
        }
        if status in sentences:
            return sentences[status]
        if status >= 500:
            return f"The Hub is not available now ({status}, {reason}): wait a minute and {again}."
        return f"The Hub rejected a request for {self.name} ({status}, {reason}): correct it and run the command again."


# Roles in an organization with write access.
_WRITERS = frozenset({"admin", "write", "contributor"})
NOT_LOGGED_IN = "You are not logged in to the Hub: run hf auth login, or set HF_TOKEN."
OFFLINE = "HF_HUB_OFFLINE is set, so the Hub cannot be reached: unset it and run the command again."


def _login() -> str:
    """Returns who is logged in and where they may write, as part of a sentence; "" if the Hub does not tell."""
    try:
        account = HfApi().whoami()
        names = [account["name"]]
        names += [org["name"] for org in account.get("orgs") or [] if org.get("roleInOrg") in _WRITERS]
        role = account.get("auth", {}).get("accessToken", {}).get("role")
    except Exception:  # This part of the sentence is optional.
        return ""
    if role == "read":
        return f"; you are logged in as {names[0]} with a read-only token"
    return f"; you are logged in as {names[0]} and may write to {', '.join(names)}"


def _needs_plan(repository: Repository, reason: str) -> str:
    if repository.kind != "space":
        return f"The Hub requires a paid plan for {repository.description} ({reason}): upload less, or change the plan."
    return (
        f"The Hub hosts Spaces with a server, such as {repository.name}, for paying accounts only ({reason}): publish "
        "a static page (publish-space --static), use ZeroGPU (--hardware zero-a10g, two are free), or run the demo on "
        "your own machine (hf-speech demo)."
    )


def _unexpected_response(error: Exception) -> str:
    return (
        f"{constants.ENDPOINT} sent an unexpected response ({type(error).__name__}: {_first_sentence(error)}): check "
        "HF_ENDPOINT and the network, and run the same command again."
    )


def require_login() -> None:
    """Checks that huggingface_hub has a token.

    Raises:
        PublishError: If there is no token, or `HF_HUB_OFFLINE` is set.
    """
    if constants.is_offline_mode():
        raise PublishError(OFFLINE)
    if get_token() is None:
        raise PublishError(NOT_LOGGED_IN)


def local_files(folder: Path, names: Iterable[str] | None = None) -> dict[str, Checksums]:
    """Returns the checksums of the named files of a folder, or of all its files, by POSIX path."""
    if names is None:
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return {name: Checksums.of(folder / name) for name in sorted(names)}


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yields an exception and its causes, outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__  # type: ignore[assignment]


def _retry_delay(error: HfHubHTTPError) -> str:
    headers = error.response.headers
    match = re.match(r"(\d+)$", headers.get("Retry-After", "")) or re.search(r"\bt=(\d+)", headers.get("RateLimit", ""))
    return f"{match[1]} seconds" if match else "a few minutes"


def _first_sentence(error: object) -> str:
    """Returns the first line or sentence of a library's message, without request ids."""
    text = re.sub(r"\(Request ID: [^)]*\)", "", str(error)).strip() or type(error).__name__
    first = re.split(r"(?<=[.!?])\s|\n", text)[0].rstrip(".!: ")
    return first if len(first) <= 160 else f"{first[:160]}..."
