"""Pushes a staged folder to a repository in one commit, or changes nothing.

- A new repository is private. It becomes public only after everything else has succeeded and its main branch is still
  the verified commit. Pushing to a public repository requires `public=True`.
- The commit names its parent, so that concurrent commits are not overwritten. It also deletes the files that are not
  in the folder. If nothing differs, there is no commit.
- If a commit fails, the repository is checked anyway, because only the response may have been lost.
- After the commit, the Hub's list of files is compared with the folder.
- A tag is set after verification and never moved.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from hf_speech.common.hub import Checksums, Repository, State, local_files, require_login
from hf_speech.errors import PublishError

# Files that the Hub creates.
KEPT = frozenset({".gitattributes"})
# Benchmark results, which anyone can propose: only our own file is replaced.
_RESULTS = ".eval_results/"
BENCHMARK_FILE = f"{_RESULTS}open_asr_leaderboard.yaml"
_RETRIES = 5


@dataclass(frozen=True)
class PushResult:
    """The result of a push.

    Attributes:
        repository: The repository.
        commit: The sha of the commit with the content of the folder, new or existing.
        changed: Whether a commit was made.
        private: Whether the repository is private.
        added: Files that were added or changed.
        removed: Files that were deleted.
        pull_request: The page of the pull request, if the commit is in one.
        tag: The tag of the commit, if one was set.
    """

    repository: Repository
    commit: str
    changed: bool
    private: bool
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    pull_request: str | None = None
    tag: str | None = None

    @property
    def reference(self) -> str:
        """The published revision, `NAME/REPO@TAG` or `NAME/REPO@COMMIT`."""
        return f"{self.repository.name}@{self.tag or self.commit}"


def push(
    folder: Path,
    repository: Repository,
    *,
    public: bool = False,
    tag: str | None = None,
    create_pr: bool = False,
    message: str | None = None,
    space_sdk: str | None = None,
    space_hardware: str | None = None,
    since: State | None = None,
) -> PushResult:
    """Sends a staged folder to the Hub in one commit.

    Args:
        folder: The staged folder.
        repository: The repository.
        public: Whether the repository may be public. A private one is made public later, by `finish`.
        tag: The tag that `finish` will set; rejected if it exists already.
        create_pr: Open a pull request instead of committing.
        message: The title of the commit.
        space_sdk: The SDK of a Space, if it has to be created.
        space_hardware: The hardware of a Space, if it has to be created.
        since: The repository when the folder was made, if the folder depends on it.

    Raises:
        PublishError: If the Hub rejects the commit or cannot be reached; the repository is unchanged then.
    """
    require_login()
    check_tag_name(tag, create_pr=create_pr)
    local = local_files(folder)
    state = repository.fetch_state()
    if state is None:
        if create_pr:
            raise PublishError(f"There is no {repository.description.removeprefix('the ')} yet: leave out --create_pr.")
        state = _create(repository, space_sdk, space_hardware)
    elif not state.private and not public:
        raise PublishError(
            f"{repository.name} is public: pass --public if everyone may see the files, or make it private at "
            f"{repository.url}/settings."
        )
    if since is not None and since.commit != state.commit:
        raise PublishError(
            f"{repository.name} was changed in the meantime, so nothing was sent: run the same command again to start "
            "from its current state."
        )
    added = [path for path, checksums in local.items() if not checksums.match(state.files.get(path))]
    removed = sorted(_stale_files(state.files, local))
    if tag is not None:
        _check_tag(repository, state, tag, changed=bool(added or removed))
    if not added and not removed:
        return PushResult(repository, state.commit, changed=False, private=state.private)
    if create_pr and (proposed := _open_pull_request(repository, local)) is not None:
        return PushResult(repository, proposed[0], changed=False, private=state.private, pull_request=proposed[1])

    operations = [CommitOperationAdd(path, str(folder / path)) for path in added]
    operations += [CommitOperationDelete(path, is_folder=False) for path in removed]
    title = message or f"Publish {repository.name.split('/')[1]} with hf_speech"
    pull_request = None
    try:
        with repository.readable_errors():
            commit = HfApi().create_commit(
                repository.name,
                operations,
                commit_message=title,
                repo_type=repository.kind,
                parent_commit=state.commit,
                create_pr=create_pr,
            )
    except PublishError:
        committed = None if create_pr else _committed_state(repository, local)
        if committed is None:
            raise
        sha = committed.commit
    else:
        sha, pull_request = commit.oid, commit.pr_url
    new_state = _wait_for_commit(repository, sha)
    if differing := _differences(new_state.files, local):
        raise PublishError(
            f"The commit {new_state.commit[:8]} of {repository.name} differs from the files that were sent "
            f"({', '.join(differing[:3])}): run the same command again."
        )
    return PushResult(repository, sha, True, new_state.private, tuple(added), tuple(removed), pull_request)


def finish(pushed: PushResult, *, public: bool = False, tag: str | None = None) -> PushResult:
    """Tags the commit, makes the repository public if requested, and checks its visibility.

    Raises:
        PublishError: If the Hub rejects a request, there is a newer commit, or the visibility is not as requested.
    """
    repository, api = pushed.repository, HfApi()
    make_public = public and pushed.private
    if make_public and (before := repository.fetch_state()) is not None and before.commit != pushed.commit:
        raise PublishError(_foreign_commit(repository, pushed, before, "stays private"))
    with repository.readable_errors():
        if tag is not None:
            api.create_tag(repository.name, tag=tag, revision=pushed.commit, repo_type=repository.kind, exist_ok=True)
        if make_public:
            api.update_repo_settings(repository.name, private=False, repo_type=repository.kind)
    state = repository.fetch_state()
    if state is None:
        raise PublishError(f"{repository.name} cannot be accessed any more: check {repository.url}.")
    if make_public and state.commit != pushed.commit:  # A commit arrived after the check above.
        with repository.readable_errors():
            api.update_repo_settings(repository.name, private=True, repo_type=repository.kind)
        raise PublishError(_foreign_commit(repository, pushed, state, "was made private again"))
    if tag is not None and state.tags.get(tag) != pushed.commit:
        raise PublishError(f"The tag {tag} of {repository.name} is on another commit: choose another tag.")
    if state.private == public:
        actual, requested = ("private", "public") if state.private else ("public", "private")
        raise PublishError(
            f"{repository.name} is {actual} instead of {requested}: change it at {repository.url}/settings."
        )
    return replace(pushed, private=state.private, tag=tag)


def _create(repository: Repository, space_sdk: str | None, space_hardware: str | None) -> State:
    """Creates a private repository."""
    with repository.readable_errors():
        HfApi().create_repo(
            repository.name,
            repo_type=repository.kind,
            private=True,
            exist_ok=True,
            space_sdk=space_sdk,
            space_hardware=space_hardware,
        )
    state = repository.fetch_state()
    if state is None:
        raise PublishError(f"This login cannot access {repository.description}: check the name and the login.")
    if not state.private:  # An organization can decide that new repositories are public.
        with repository.readable_errors():
            HfApi().update_repo_settings(repository.name, private=True, repo_type=repository.kind)
        state = repository.fetch_state()
        if state is None or not state.private:
            raise PublishError(
                f"{repository.name} could not be made private, so nothing was sent: make it private at "
                f"{repository.url}/settings and run the command again."
            )
    return state


def check_tag_name(tag: str | None, *, create_pr: bool = False) -> None:
    """Rejects text that is not a valid git tag, and a tag of a pull request."""
    if tag is None:
        return
    if create_pr:
        raise PublishError("A pull request cannot be tagged: merge it first, or leave out --create_pr.")
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]{0,127}", tag) or tag.endswith((".", ".lock")) or ".." in tag:
        raise PublishError(
            f"{shorten(tag, 60)!r} cannot be a tag: use at most 128 letters, digits, dots and dashes, as in v1.0."
        )


def _check_tag(repository: Repository, state: State, tag: str, *, changed: bool) -> None:
    tagged = state.tags.get(tag)
    if tagged is not None and (changed or tagged != state.commit):
        raise PublishError(
            f"{repository.name} already has a tag {tag}, on the commit {tagged[:8]}: choose another, such as "
            f"{_next_tag(tag)}."
        )


def _foreign_commit(repository: Repository, pushed: PushResult, state: State, outcome: str) -> str:
    """Returns the message about a commit that arrived after the verified one."""
    author, title = "somebody else", ""
    try:
        last = HfApi().list_repo_commits(repository.name, repo_type=repository.kind, revision=state.commit)[0]
        author, title = ", ".join(last.authors) or author, f" ({last.title!r})"
    except Exception:  # Author and title are optional.
        pass
    return (
        f"The main branch of {repository.name} is at {state.commit[:8]}{title} by {author}, and not at "
        f"{pushed.commit[:8]}, which was verified, so it {outcome}: check {repository.url}/commits/main, then publish "
        "again."
    )


def _next_tag(tag: str) -> str:
    """Increments a tag: v2 after v1, v1.10 after v1.9."""
    match = re.search(r"(\d+)$", tag)
    return f"{tag}-2" if match is None else f"{tag[: match.start()]}{int(match[1]) + 1}"


def _committed_state(repository: Repository, local: dict[str, Checksums]) -> State | None:
    """Returns the state of the repository if it contains the files in spite of an error."""
    try:
        state = repository.fetch_state()
    except PublishError:
        return None
    return state if state is not None and not _differences(state.files, local) else None


def _wait_for_commit(repository: Repository, commit: str) -> State:
    """Returns the repository at a new commit, which may take a moment to appear."""
    for left in range(_RETRIES, -1, -1):
        try:
            state = repository.fetch_state(commit)
            if state is not None:
                return state
        except PublishError:
            if left == 0:
                raise
        time.sleep(0.5 * (_RETRIES - left))
    raise PublishError(f"{repository.name} cannot be accessed after the commit: check {repository.url}.")


def _differences(files: dict[str, str], local: dict[str, Checksums]) -> list[str]:
    """Returns the files that differ between the Hub and the local folder."""
    differing = [path for path, checksums in local.items() if not checksums.match(files.get(path))]
    return differing + sorted(_stale_files(files, local))


def _stale_files(remote: Iterable[str], local: Mapping[str, Checksums]) -> set[str]:
    """Returns the files on the Hub that the local folder no longer has."""
    ours = {name for name in remote if not name.startswith(_RESULTS) or name == BENCHMARK_FILE}
    return ours - set(local) - KEPT


def _open_pull_request(repository: Repository, local: dict[str, Checksums]) -> tuple[str, str] | None:
    """Returns the commit and page of an open pull request with exactly these files, if there is one."""
    filters = {"repo_type": repository.kind, "discussion_type": "pull_request", "discussion_status": "open"}
    with repository.readable_errors():
        requests = list(HfApi().get_repo_discussions(repository.name, **filters))
    for request in requests:
        state = repository.fetch_state(request.git_reference)
        if state is not None and not _differences(state.files, local):
            return state.commit, request.url
    return None
