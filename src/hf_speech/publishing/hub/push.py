"""Push: a staged folder becomes one commit of a repository, or nothing happens.

Decisions:

- A new repository is created private, always; it is made public after everything else has succeeded, and
  only if its main branch is still the commit that was verified. One that is public already needs `public=True`.
- One commit with its parent named: another commit in the meantime is not overwritten. What is on the Hub and not in the
  folder is deleted in the same commit. Where nothing differs there is no commit.
- When a commit fails, the Hub is asked whether it arrived: a lost response is not a failure.
- Afterwards the Hub's own list of files is compared with the folder.
- A tag comes last, when the commit has been verified; it never moves.
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

# Written by the Hub itself; no folder has it.
KEPT = frozenset({".gitattributes"})
# Results on benchmarks, which anyone can propose: those of others stay.
_RESULTS = ".eval_results/"
BENCHMARK_FILE = f"{_RESULTS}open_asr_leaderboard.yaml"
_LOOKS = 5


@dataclass(frozen=True)
class PushResult:
    """The result of a push.

    Attributes:
        repository: Where.
        commit: The sha of the commit that holds exactly the folder, whether just made or there before.
        changed: Whether a commit was made.
        private: Whether the repository is private.
        added: Files that were sent.
        removed: Files that are no longer there.
        pull_request: The page of the pull request that holds the commit, if it is one.
        tag: The tag on the commit, if one was set.
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
        """How to name what was published: `NAME/REPO@TAG`, or with the commit where there is no tag."""
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
        folder: What `stage` made.
        repository: Where to.
        public: Whether the repository may be public. It is not opened here: `finish` does.
        tag: The tag that `finish` will be asked for, refused here if it is taken.
        create_pr: Open a pull request instead of committing.
        message: Title of the commit.
        space_sdk: The SDK of a Space, if it has to be created.
        space_hardware: The hardware with which it is created.
        since: The repository as it was when the folder was made, if that depends on it.

    Raises:
        PublishError: If the Hub refuses or cannot be reached; nothing has changed there then.
    """
    require_login()
    if create_pr and tag is not None:
        raise PublishError("A tag marks what is published: merge the pull request first, or leave out --create_pr.")
    local = local_files(folder)
    state = repository.look()
    if state is None:
        if create_pr:
            raise PublishError(f"There is no {repository.words.removeprefix('the ')} yet: leave out --create_pr.")
        state = _create(repository, space_sdk, space_hardware)
    elif not state.private and not public:
        raise PublishError(
            f"{repository.name} is public: pass --public if everybody may see this, or make it private at "
            f"{repository.url}/settings."
        )
    if since is not None and since.commit != state.commit:
        raise PublishError(
            f"Somebody else has changed {repository.name} in the meantime, and nothing was overwritten: run the same "
            "command again, which starts from what is there now."
        )
    added = [path for path, checksums in local.items() if not checksums.match(state.files.get(path))]
    removed = sorted(_surplus(state.files, local))
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
        with repository.explained():
            commit = HfApi().create_commit(
                repository.name,
                operations,
                commit_message=title,
                repo_type=repository.kind,
                parent_commit=state.commit,
                create_pr=create_pr,
            )
    except PublishError:
        settled = None if create_pr else _settled(repository, local)
        if settled is None:
            raise
        sha = settled.commit
    else:
        sha, pull_request = commit.oid, commit.pr_url
    now = _seen(repository, sha)
    if differing := _differences(now.files, local):
        raise PublishError(
            f"The commit {now.commit[:8]} of {repository.name} is not what was sent ({', '.join(differing[:3])} "
            "differ): run the same command again."
        )
    return PushResult(repository, sha, True, now.private, tuple(added), tuple(removed), pull_request)


def finish(pushed: PushResult, *, public: bool = False, tag: str | None = None) -> PushResult:
    """Tags what was pushed, makes the repository public if asked to, and checks who sees it now.

    Raises:
        PublishError: If the Hub refuses, somebody else has committed since, or the repository is not as visible as
            asked for.
    """
    repository, api = pushed.repository, HfApi()
    opens = public and pushed.private
    if opens and (before := repository.look()) is not None and before.commit != pushed.commit:
        raise PublishError(_foreign_commit(repository, pushed, before, "stays private"))
    with repository.explained():
        if tag is not None:
            api.create_tag(repository.name, tag=tag, revision=pushed.commit, repo_type=repository.kind, exist_ok=True)
        if opens:
            api.update_repo_settings(repository.name, private=False, repo_type=repository.kind)
    state = repository.look()
    if state is None:
        raise PublishError(f"{repository.name} cannot be seen any more: look at {repository.url}.")
    if opens and state.commit != pushed.commit:  # It has changed since the repository was last checked.
        with repository.explained():
            api.update_repo_settings(repository.name, private=True, repo_type=repository.kind)
        raise PublishError(_foreign_commit(repository, pushed, state, "was made private again"))
    if tag is not None and state.tags.get(tag) != pushed.commit:
        raise PublishError(f"The tag {tag} of {repository.name} is on another commit: choose another tag.")
    if state.private == public:
        is_now = "private" if state.private else "public"
        raise PublishError(
            f"{repository.name} is {is_now}, which was not asked for: change it at {repository.url}/settings."
        )
    return replace(pushed, private=state.private, tag=tag)


def _create(repository: Repository, space_sdk: str | None, space_hardware: str | None) -> State:
    """A new, private repository."""
    with repository.explained():
        HfApi().create_repo(
            repository.name,
            repo_type=repository.kind,
            private=True,
            exist_ok=True,
            space_sdk=space_sdk,
            space_hardware=space_hardware,
        )
    state = repository.look()
    if state is None:
        raise PublishError(f"This login may not see {repository.words}: check the name and the login.")
    if not state.private:  # An organization can decide that new repositories are public.
        with repository.explained():
            HfApi().update_repo_settings(repository.name, private=True, repo_type=repository.kind)
        now = repository.look()
        if now is None or not now.private:
            raise PublishError(
                f"{repository.name} was to be made private and came out public, so nothing was sent: make it private "
                f"at {repository.url}/settings and run the command again."
            )
    return state


def check_tag_name(tag: str | None) -> None:
    """Refuses what git does not take as a tag."""
    if tag is None:
        return
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]{0,127}", tag) or tag.endswith((".", ".lock")) or ".." in tag:
        raise PublishError(
            f"{shorten(tag, 60)!r} cannot be a tag: use at most 128 letters, digits, dots and dashes, as in v1.0."
        )


def _check_tag(repository: Repository, state: State, tag: str, *, changed: bool) -> None:
    check_tag_name(tag)
    at = state.tags.get(tag)
    if at is not None and (changed or at != state.commit):
        raise PublishError(
            f"The tag {tag} of {repository.name} is taken by the commit {at[:8]}: choose another, such as {_next(tag)}."
        )


def _foreign_commit(repository: Repository, pushed: PushResult, state: State, outcome: str) -> str:
    """The sentence about a commit that arrived after the one that was verified."""
    author, title = "somebody else", ""
    try:
        last = HfApi().list_repo_commits(repository.name, repo_type=repository.kind, revision=state.commit)[0]
        author, title = ", ".join(last.authors) or author, f" ({last.title!r})"
    except Exception:  # The message is complete without it.
        pass
    return (
        f"The main branch of {repository.name} is at {state.commit[:8]}{title} by {author}, and not at "
        f"{pushed.commit[:8]}, which was verified, so it {outcome}: look at {repository.url}/commits/main, then "
        "publish again."
    )


def _next(tag: str) -> str:
    """The tag after a tag: v2 after v1, v1.10 after v1.9."""
    match = re.search(r"(\d+)$", tag)
    return f"{tag}-2" if match is None else f"{tag[: match.start()]}{int(match[1]) + 1}"


def _settled(repository: Repository, local: dict[str, Checksums]) -> State | None:
    """The repository, if it has what was sent although the answer said otherwise or never came."""
    try:
        state = repository.look()
    except PublishError:
        return None
    return state if state is not None and not _differences(state.files, local) else None


def _seen(repository: Repository, commit: str) -> State:
    """The repository at a commit, which may need a moment to be seen everywhere."""
    for left in range(_LOOKS, -1, -1):
        try:
            state = repository.look(commit)
            if state is not None:
                return state
        except PublishError:
            if left == 0:
                raise
        time.sleep(0.5 * (_LOOKS - left))
    raise PublishError(f"{repository.name} cannot be seen after the commit: look at {repository.url}.")


def _differences(files: dict[str, str], local: dict[str, Checksums]) -> list[str]:
    """Files that are not the same on both sides."""
    differing = [path for path, checksums in local.items() if not checksums.match(files.get(path))]
    return differing + sorted(_surplus(files, local))


def _surplus(there: Iterable[str], local: Mapping[str, Checksums]) -> set[str]:
    """Files on the Hub that do not belong to what is published."""
    ours = {name for name in there if not name.startswith(_RESULTS) or name == BENCHMARK_FILE}
    return ours - set(local) - KEPT


def _open_pull_request(repository: Repository, local: dict[str, Checksums]) -> tuple[str, str] | None:
    """Commit and page of an open pull request that holds exactly these files."""
    wanted = {"repo_type": repository.kind, "discussion_type": "pull_request", "discussion_status": "open"}
    with repository.explained():
        found = list(HfApi().get_repo_discussions(repository.name, **wanted))
    for request in found:
        state = repository.look(request.git_reference)
        if state is not None and not _differences(state.files, local):
            return state.commit, request.url
    return None
