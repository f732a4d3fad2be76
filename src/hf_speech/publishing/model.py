"""The whole way to the Hub: staged, pushed, verified, and only then tagged and opened.

Each step may refuse, and leaves the Hub either as it was or with one whole commit in a private repository. Running the
same command again does what is still to be done and nothing twice. Models, Spaces and corpora all go by `deliver`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

from hf_speech.common.hub import Repository, State
from hf_speech.errors import PublishError
from hf_speech.publishing.hub.probes import PROBE_FILE, keep_if_same, make_probes
from hf_speech.publishing.hub.push import Pushed, finish, push
from hf_speech.publishing.hub.verify import Copy, Verification, downloaded, verify_model
from hf_speech.publishing.staging import Staged, stage


class How(TypedDict, total=False):
    """How something is published; what is left out is as `deliver` has it.

    Attributes:
        public: Whether everybody is to see it (no).
        tag: Name of a tag for the commit (none).
        create_pr: Open a pull request instead of committing (no).
        message: Title of the commit.
        dry_run: Stop before anything is sent (no).
        verify: Whether to download the commit again and compare (yes).
        tell: Is called with a line for the user after each step (print).
    """

    public: bool
    tag: str | None
    create_pr: bool
    message: str | None
    dry_run: bool
    verify: bool
    tell: Callable[[str], None]


@dataclass(frozen=True)
class Published:
    """What came of publishing.

    Attributes:
        pushed: The commit; None after a dry run.
        verification: What loading it back showed, if it was asked for.
        card: The card, as it was or would be published.
        tree: The files with their sizes.
    """

    pushed: Pushed | None
    verification: Verification | None
    card: str
    tree: str


def publish(
    run_dir: Path, repo_id: str, *, license: str | None = None, card: Path | None = None, **how: Unpack[How]
) -> Published:
    """Publishes a run folder as a model repository.

    Args:
        run_dir: The run folder.
        repo_id: `NAME/REPO`.
        license: The Hub's name of the license; None for what the run folder or the published card says.
        card: A file with the card to publish; None for the one made of the evaluation files.
        **how: See `How`.

    Raises:
        PublishError: If anything must not or cannot be published.
    """
    repository = Repository(repo_id)
    state = published_state(repository, **how)
    probes = make_probes(run_dir)
    with tempfile.TemporaryDirectory(prefix="hf-speech-publish-") as temporary:
        scratch = Path(temporary)
        there = None if state is None else repository.read(PROBE_FILE, state)
        staged = stage(
            run_dir,
            scratch / "staged",
            repo_id=repo_id,
            card=None if card is None else _read_card(card),
            revision=how.get("tag"),
            previous=published_card(repository, state),
            license=license,
            extra={PROBE_FILE: keep_if_same(probes, there, scratch)},
        )
        return deliver(staged, repository, lambda copy: verify_model(copy, trust_code=True), since=state, **how)


def deliver(
    staged: Staged,
    repository: Repository,
    check: Callable[[Copy], Verification],
    *,
    since: State | None = None,
    space_sdk: str | None = None,
    configure: Callable[[Pushed], None] | None = None,
    public: bool = False,
    tag: str | None = None,
    create_pr: bool = False,
    message: str | None = None,
    dry_run: bool = False,
    verify: bool = True,
    tell: Callable[[str], None] = print,
) -> Published:
    """Takes a staged folder to the Hub.

    Args:
        staged: The folder.
        repository: Where to.
        check: Compares the commit, downloaded anew, with what it is to be.
        since: The repository as it was when the folder was made; a change since then is not written over.
        space_sdk: What a Space that has to be made runs on.
        configure: Is called after the commit, unless that is a pull request.
        public, tag, create_pr, message, dry_run, verify, tell: See `How`.

    Raises:
        PublishError: If the Hub refuses, or the commit is not what it is to be.
    """
    for note in staged.notes:
        tell(note)
    card, tree = (staged.folder / "README.md").read_text(encoding="utf-8"), staged.tree()
    if dry_run:
        return Published(None, None, card, tree)
    pushed = push(
        staged,
        repository,
        public=public,
        tag=tag,
        create_pr=create_pr,
        message=message,
        space_sdk=space_sdk,
        since=since,
    )
    tell(describe(pushed))
    if configure is not None and not create_pr:
        configure(pushed)
    verification = None
    if verify:
        tell("Verifying: the commit is downloaded again and compared.")
        with downloaded(repository.name, pushed.commit, repository.kind) as copy:
            verification = check(copy)
        if not verification.ok:
            raise PublishError(
                f"{repository.name}@{pushed.commit[:8]} is not what it was here ({verification.differences[0]}), so it "
                "was neither tagged nor opened: correct what was published and publish it again."
            )
    if not create_pr:
        pushed = finish(pushed, public=public, tag=tag)
    return Published(pushed, verification, card, tree)


def describe(pushed: Pushed) -> str:
    """One line about what a push did."""
    name = pushed.repository.name
    if not pushed.changed:
        there = f"the pull request {pushed.pull_request}" if pushed.pull_request else f"{name}@{pushed.commit}"
        return f"Nothing has changed since {there}: no commit was made."
    files = f"{len(pushed.added)} files" + (f", without {', '.join(pushed.removed)}" if pushed.removed else "")
    if pushed.pull_request:
        return f"Proposed as {pushed.pull_request}: {files} in one commit."
    return f"Committed {name}@{pushed.commit}: {files}."


def published_state(repository: Repository, **how: Unpack[How]) -> State | None:
    """What is on the Hub now; a dry run goes on without knowing where it cannot be asked."""
    try:
        return repository.look()
    except PublishError as error:
        if not how.get("dry_run"):
            raise
        how.get("tell", print)(f"What is on the Hub now is not known here ({str(error).rstrip('.')}).")
        return None


def published_card(repository: Repository, state: State | None) -> str | None:
    """The card that is on the Hub now; None if there is none."""
    content = None if state is None else repository.read("README.md", state)
    return None if content is None else content.decode("utf-8", errors="replace")


def _read_card(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PublishError(f"The card {path} cannot be read ({type(error).__name__}): give a Markdown file.") from error


__all__ = ["How", "Published", "deliver", "publish", "published_card", "published_state"]
