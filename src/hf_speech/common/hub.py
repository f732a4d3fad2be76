"""A repository on the Hub, and one-sentence errors for failures of the Hub or the connection.

Files are compared by the checksums that the Hub lists, so nothing has to be downloaded to know what has changed: git's
SHA-1 of a regular file, the SHA-256 of a large one. The token comes from where huggingface_hub finds it (`hf auth
login`, `HF_TOKEN`); nothing here keeps or shows it.
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

# The Hub's errors derive from those of its HTTP library, which depends on the version, and of the system.
_ERRORS: tuple[type[Exception], ...] = (*HfHubHTTPError.__bases__, RuntimeError, ValueError)
# What huggingface_hub raises over JSON of another shape than it expects.
_ODD_ANSWERS = (LookupError, TypeError, AttributeError, ArithmeticError, AssertionError)
_WORDS = {"model": "model", "space": "Space", "dataset": "dataset"}


@dataclass(frozen=True)
class State:
    """A repository at one moment.

    Attributes:
        commit: The sha that the revision points to.
        private: Whether only its owners see it.
        files: Checksum of each file, as `Checksums` has them.
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
        """Reads a file once for both."""
        sha1, sha256 = hashlib.sha1(b"blob %d\0" % path.stat().st_size), hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                sha1.update(block)
                sha256.update(block)
        return cls(sha1.hexdigest(), sha256.hexdigest())

    def match(self, listed: str | None) -> bool:
        """Whether the Hub's checksum is that of this file."""
        return listed in (self.sha1, self.sha256)


@dataclass(frozen=True)
class Repository:
    """A repository of the Hub.

    Attributes:
        name: `NAME/REPO`.
        kind: model, space or dataset.
    """

    name: str
    kind: Kind = "model"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.name):
            raise PublishError(
                f"'{self.name}' is not the name of a repository: give --repo_id NAME/REPO, with your login."
            )

    @property
    def url(self) -> str:
        """Its page."""
        prefix = {"model": "", "space": "spaces/", "dataset": "datasets/"}[self.kind]
        return f"{constants.ENDPOINT}/{prefix}{self.name}"

    @property
    def words(self) -> str:
        """Its name in messages."""
        return f"the {_WORDS[self.kind]} {self.name}"

    def look(self, revision: str | None = None) -> State | None:
        """The repository now; None if there is none, or none that this login may see.

        Raises:
            PublishError: If the Hub cannot be asked, or the repository has no such revision.
        """
        api = HfApi()
        with self.explained(revision):
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
        """The content of a small file; None if there is no such file."""
        if path not in state.files:
            return None
        with self.explained():
            try:
                file = hf_hub_download(self.name, path, repo_type=self.kind, revision=state.commit)
            except EntryNotFoundError:
                return None
        return Path(file).read_bytes()

    @contextmanager
    def explained(self, revision: str | None = None) -> Iterator[None]:
        """Turns huggingface_hub errors into one sentence that says what to do."""
        try:
            yield
        except PublishError:
            raise
        except _ERRORS as error:
            raise PublishError(self._sentence(error, revision)) from error
        except _ODD_ANSWERS as error:
            raise PublishError(_odd_answer(error)) from error

    def _sentence(self, error: Exception, revision: str | None) -> str:
        chain = list(_causes(error))
        if isinstance(error, json.JSONDecodeError):
            return _odd_answer(error)
        if isinstance(error, ValueError) and "Invalid metadata" in str(error):
            problems = " ".join(str(error).partition("\n")[2].split())[:200].lstrip("- ").rstrip(".")
            return f"The Hub refuses the metadata in the README.md of {self.words} ({problems}): correct it."
        for cause in chain:
            if isinstance(cause, RevisionNotFoundError):
                return f"{self.name} has no revision {revision}: give a branch, a tag or a commit that it has."
            if isinstance(cause, HfHubHTTPError):
                return self._http_sentence(cause)
        for cause in chain:
            if isinstance(cause, LocalTokenNotFoundError):
                return NOT_LOGGED_IN
            if isinstance(cause, OfflineModeIsEnabled):
                return "HF_HUB_OFFLINE keeps this program from asking the Hub: unset it and run the command again."
            if isinstance(cause, HFValidationError):
                return f"{_first_sentence(cause)}: give --repo_id NAME/REPO."
            if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
                return "There is no space left on this machine's disk: free some, and run the command again."
        return (
            f"The connection to the Hub broke ({_first_sentence(chain[-1])}): check the network and run the same "
            "command again, which sends only what is missing."
        )

    def _http_sentence(self, error: HfHubHTTPError) -> str:
        status = error.response.status_code
        reason = _first_sentence(error.server_message or error)
        again = "run the same command again, which sends only what is missing"
        if isinstance(error, GatedRepoError):
            return f"{self.name} is gated: ask for access at {self.url}, and log in with hf auth login."
        if isinstance(error, RepositoryNotFoundError) and get_token() is not None:
            return f"There is no {_WORDS[self.kind]} {self.name} that this login may see: check the name and the login."
        if status == 401 or isinstance(error, RepositoryNotFoundError):
            return "The Hub does not know this login: run hf auth login, or set HF_TOKEN to a token that is valid."
        if status == 403:
            return (
                f"This login may not write to {self.name} ({reason}){_login()}: take a token with write access to it "
                f"({constants.ENDPOINT}/settings/tokens), or a --repo_id that it may write to."
            )
        sentences = {
            402: _needs_plan(self, reason),
            409: f"The Hub is busy with {self.name} or has it already ({reason}): {again}.",
            412: f"Somebody else has changed {self.name} in the meantime, and nothing was overwritten: run the same "
            "command again, which starts from what is there now.",
            413: f"The Hub has no space for this in {self.name} ({reason}): send less, or get more space, and {again}.",
            422: f"A file arrived at the Hub damaged ({reason}): {again}.",
            429: f"The Hub has had too many requests: wait {_seconds(error)} and {again}.",
            507: f"The Hub has no space left for {self.name} ({reason}): free or get some, and {again}.",
        }
        if status in sentences:
            return sentences[status]
        if status >= 500:
            return f"The Hub is not available now ({status}, {reason}): wait a minute and {again}."
        return f"The Hub refuses this for {self.name} ({status}, {reason}): correct it and run the command again."


# Roles in an organization that may write.
_WRITERS = frozenset({"admin", "write", "contributor"})
NOT_LOGGED_IN = "You are not logged in to the Hub: run hf auth login, or set HF_TOKEN."


def _login() -> str:
    """Who is logged in, and where they may write, as a part of a sentence; empty if the Hub does not say."""
    try:
        account = HfApi().whoami()
        names = [account["name"]]
        names += [org["name"] for org in account.get("orgs") or [] if org.get("roleInOrg") in _WRITERS]
        role = account.get("auth", {}).get("accessToken", {}).get("role")
    except Exception:  # The sentence is complete without it.
        return ""
    if role == "read":
        return f"; you are logged in as {names[0]} with a token that may only read"
    return f"; you are logged in as {names[0]} and may write to {', '.join(names)}"


def _needs_plan(repository: Repository, reason: str) -> str:
    if repository.kind != "space":
        return f"The Hub asks for a paid plan for {repository.words} ({reason}): send less, or change the plan."
    return (
        f"The Hub hosts a Space with a server, such as {repository.name}, for paying accounts only ({reason}): publish "
        "a page that needs no server (publish-space --static), take ZeroGPU (--hardware zero-a10g, two are free), or "
        "show the model from your own machine (hf-speech demo)."
    )


def _odd_answer(error: Exception) -> str:
    return (
        f"{constants.ENDPOINT} gave an answer that is not a Hub's ({type(error).__name__}: {_first_sentence(error)}): "
        "check HF_ENDPOINT and the network, and run the same command again."
    )


def require_login() -> None:
    """Refuses to go on without a token.

    Raises:
        PublishError: If huggingface_hub finds none, or is told to stay offline.
    """
    if constants.is_offline_mode():
        raise PublishError("HF_HUB_OFFLINE keeps this program from asking the Hub: unset it and run the command again.")
    if get_token() is None:
        raise PublishError(NOT_LOGGED_IN)


def local_files(folder: Path, names: Iterable[str] | None = None) -> dict[str, Checksums]:
    """The checksums of files of a folder, by their names with slashes; of all of them without `names`."""
    if names is None:
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return {name: Checksums.of(folder / name) for name in sorted(names)}


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and its causes, outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__  # type: ignore[assignment]


def _seconds(error: HfHubHTTPError) -> str:
    headers = error.response.headers
    match = re.match(r"(\d+)$", headers.get("Retry-After", "")) or re.search(r"\bt=(\d+)", headers.get("RateLimit", ""))
    return f"{match[1]} seconds" if match else "some minutes"


def _first_sentence(error: object) -> str:
    """The first line or sentence of a library's message, without request ids."""
    text = re.sub(r"\(Request ID: [^)]*\)", "", str(error)).strip() or type(error).__name__
    first = re.split(r"(?<=[.!?])\s|\n", text)[0].rstrip(".!: ")
    return first if len(first) <= 160 else f"{first[:160]}..."
