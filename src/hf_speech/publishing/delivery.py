"""From a staged folder to the Hub: pushed, verified, then tagged and made public; for models, Spaces and corpora.

Each step may refuse, and leaves the Hub either as it was or with one complete commit in a private repository. Running
the same command again does only the remaining steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict, Unpack

from hf_speech.common.hub import Repository, State
from hf_speech.errors import PublishError
from hf_speech.publishing.checks.secrets import without_secrets
from hf_speech.publishing.hub.push import PushResult, check_tag_name, finish, push
from hf_speech.publishing.hub.verify import RemoteSnapshot, Verification, downloaded
from hf_speech.publishing.staging import Staged


class PublishOptions(TypedDict, total=False):
    """Options of publishing anything; `deliver` has the defaults.

    Attributes:
        public: Whether everybody may see it (no).
        tag: Name of a tag for the commit (none).
        create_pr: Open a pull request instead of committing (no).
        message: Title of the commit.
        dry_run: Stop before anything is sent (no).
        verify: Whether to download the commit again and compare (yes).
        tell: Called with a line for the user after each step (print).
    """

    public: bool
    tag: str | None
    create_pr: bool
    message: str | None
    dry_run: bool
    verify: bool
    tell: Callable[[str], None]


@dataclass(frozen=True)
class PublishResult:
    """The result of publishing.

    Attributes:
        pushed: The commit; None after a dry run.
        verification: What loading it back showed, if it was asked for.
        card: The card, as it was or would be published.
        tree: The files with their sizes.
    """

    pushed: PushResult | None
    verification: Verification | None
    card: str
    tree: str


def deliver(
    staged: Staged,
    repository: Repository,
    check: Callable[[RemoteSnapshot], Verification],
    *,
    since: State | None = None,
    space_sdk: str | None = None,
    space_hardware: str | None = None,
    configure: Callable[[PushResult], None] | None = None,
    public: bool = False,
    tag: str | None = None,
    create_pr: bool = False,
    message: str | None = None,
    dry_run: bool = False,
    verify: bool = True,
    tell: Callable[[str], None] = print,
) -> PublishResult:
    """Takes a staged folder to the Hub.

    Args:
        staged: The folder.
        repository: Where to.
        check: Compares the commit, downloaded anew, with what was sent.
        since: The repository as it was when the folder was made; a later change is not overwritten.
        space_sdk, space_hardware: The SDK and hardware of a Space, if it has to be created.
        configure: Called after the commit, unless that is a pull request.
        public, tag, create_pr, message, dry_run, verify, tell: See `PublishOptions`.

    Raises:
        PublishError: If the Hub refuses, or the commit is not what was sent.
    """
    check_tag_name(tag)
    for note in staged.notes:
        tell(note)
    card, tree = (staged.folder / "README.md").read_text(encoding="utf-8"), staged.tree()
    if dry_run:
        return PublishResult(None, None, card, tree)
    with without_secrets():
        pushed = push(
            staged.folder,
            repository,
            public=public,
            tag=tag,
            create_pr=create_pr,
            message=message,
            space_sdk=space_sdk,
            space_hardware=space_hardware,
            since=since,
        )
        tell(describe(pushed))
        if configure is not None and not create_pr:
            configure(pushed)
        verification = None
        if verify:
            tell("Verifying: the commit is downloaded again and compared.")
            with downloaded(repository.name, pushed.commit, repository.kind) as snapshot:
                verification = check(snapshot)
            if not verification.ok:
                raise PublishError(
                    f"{repository.name}@{pushed.commit[:8]} is not what was sent ({verification.differences[0]}), so "
                    "it was neither tagged nor made public: correct it and publish it again."
                )
        if not create_pr:
            pushed = finish(pushed, public=public, tag=tag)
            if tag is not None:
                tell(f"Tagged {repository.name}@{tag}.")
    return PublishResult(pushed, verification, card, tree)


def describe(pushed: PushResult) -> str:
    """One line about what a push did."""
    name = pushed.repository.name
    if not pushed.changed:
        last = f"the pull request {pushed.pull_request}" if pushed.pull_request else f"{name}@{pushed.commit}"
        return f"Nothing has changed since {last}: no commit was made."
    files = f"{len(pushed.added)} files" + (f", without {', '.join(pushed.removed)}" if pushed.removed else "")
    if pushed.pull_request:
        return f"Proposed as {pushed.pull_request}: {files} in one commit."
    return f"Committed {name}@{pushed.commit}: {files}."


def published_state(repository: Repository, **options: Unpack[PublishOptions]) -> State | None:
    """What is on the Hub now; a dry run goes on without knowing where it cannot be asked."""
    try:
        return repository.look()
    except PublishError as error:
        if not options.get("dry_run"):
            raise
        options.get("tell", print)(f"What is on the Hub now is unknown ({str(error).rstrip('.')}).")
        return None


def published_card(repository: Repository, state: State | None) -> str | None:
    """The card that is on the Hub now; None if there is none."""
    content = None if state is None else repository.read("README.md", state)
    return None if content is None else content.decode("utf-8", errors="replace")
