"""Delivers a staged model, Space or corpus to the Hub: pushes it, verifies it, then tags it and makes it public.

If a step fails, the Hub is unchanged or has one complete commit in a private repository. Running the same command again
does only the remaining steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict, Unpack

from hf_speech.common.hub import Repository, State, require_login
from hf_speech.common.text import counted
from hf_speech.errors import PublishError
from hf_speech.publishing.checks.secrets import without_secrets
from hf_speech.publishing.hub.push import PushResult, check_tag_name, finish, push
from hf_speech.publishing.hub.verify import RemoteSnapshot, Verification, downloaded
from hf_speech.publishing.staging import Staged


class PublishOptions(TypedDict, total=False):
    """Options shared by all kinds of publications; the defaults are those of `deliver`.

    Attributes:
        public: Make the repository public.
        tag: A tag for the commit.
        create_pr: Open a pull request instead of committing.
        message: The title of the commit.
        dry_run: Stop before anything is sent.
        verify: Download the commit again and compare it.
        notify: Called with a message for the user after each step.
    """

    public: bool
    tag: str | None
    create_pr: bool
    message: str | None
    dry_run: bool
    verify: bool
    notify: Callable[[str], None]


@dataclass(frozen=True)
class PublishResult:
    """The result of publishing.

    Attributes:
        pushed: The commit; None after a dry run.
        verification: The result of the verification, if there was one.
        card: The card.
        tree: The files with their sizes.
    """

    pushed: PushResult | None
    verification: Verification | None
    card: str
    tree: str


def check_options(**options: Unpack[PublishOptions]) -> None:
    """Checks what needs no request to the Hub, so that nothing is computed in vain.

    Raises:
        PublishError: If the tag is not valid, or there is no login, unless this is a dry run.
    """
    check_tag_name(options.get("tag"), create_pr=options.get("create_pr", False))
    if not options.get("dry_run"):
        require_login()


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
    notify: Callable[[str], None] = print,
) -> PublishResult:
    """Delivers a staged folder to the Hub.

    Args:
        staged: The folder.
        repository: The repository.
        check: Verifies the downloaded commit.
        since: The repository when the folder was made; later changes are not overwritten.
        space_sdk, space_hardware: The SDK and hardware of a Space, if it has to be created.
        configure: Called after the commit, except for a pull request.
        public, tag, create_pr, message, dry_run, verify, notify: See `PublishOptions`.

    Raises:
        PublishError: If the Hub rejects a request, or the commit differs from the folder.
    """
    for note in staged.notes:
        notify(note)
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
        notify(describe(pushed))
        if configure is not None and not create_pr:
            configure(pushed)
        verification = None
        if verify:
            notify("Verifying: downloading the commit again to compare it.")
            with downloaded(repository.name, pushed.commit, repository.kind) as snapshot:
                verification = check(snapshot)
            if not verification.ok:
                raise PublishError(
                    f"The verification of {repository.name}@{pushed.commit[:8]} failed "
                    f"({verification.differences[0]}), so it was neither tagged nor made public: correct it and "
                    "publish it again."
                )
        if not create_pr:
            pushed = finish(pushed, public=public, tag=tag)
            if tag is not None:
                notify(f"Tagged {repository.name}@{tag}.")
    return PublishResult(pushed, verification, card, tree)


def describe(pushed: PushResult) -> str:
    """Describes the result of a push in one line."""
    name = pushed.repository.name
    if not pushed.changed:
        last = f"the pull request {pushed.pull_request}" if pushed.pull_request else f"{name}@{pushed.commit}"
        return f"Nothing has changed since {last}: no commit was made."
    files = counted(len(pushed.added), "file") + (f", without {', '.join(pushed.removed)}" if pushed.removed else "")
    if pushed.pull_request:
        return f"Proposed as {pushed.pull_request}: {files} in one commit."
    return f"Committed {name}@{pushed.commit}: {files}."


def published_state(repository: Repository, **options: Unpack[PublishOptions]) -> State | None:
    """Returns the current state of a repository; None if a dry run cannot reach the Hub."""
    try:
        return repository.fetch_state()
    except PublishError as error:
        if not options.get("dry_run"):
            raise
        options.get("notify", print)(f"The current state on the Hub is unknown ({str(error).rstrip('.')}).")
        return None
