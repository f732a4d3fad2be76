"""The whole way of a model: staged, pushed, verified, and only then tagged and opened.

Each step may refuse, and leaves the Hub either as it was or with one whole commit in a private repository. Running the
same command again does what is still to be done and nothing twice.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hf_speech.errors import PublishError
from hf_speech.publishing.hub import Repository, State
from hf_speech.publishing.probes import PROBE_FILE, keep_if_same, make_probes
from hf_speech.publishing.push import Pushed, finish, push
from hf_speech.publishing.staging import stage
from hf_speech.publishing.verify import Verification, downloaded, verify_model

Tell = Callable[[str], None]


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
    run_dir: Path,
    repo_id: str,
    *,
    public: bool = False,
    tag: str | None = None,
    create_pr: bool = False,
    message: str | None = None,
    licence: str | None = None,
    card: Path | None = None,
    dry_run: bool = False,
    verify: bool = True,
    tell: Tell = print,
) -> Published:
    """Publishes a run folder as a model repository.

    Args:
        run_dir: The run folder.
        repo_id: `NAME/REPO`.
        public: Whether everybody is to see it.
        tag: Name of a tag for the commit.
        create_pr: Open a pull request instead of committing.
        message: Title of the commit.
        licence: The Hub's name of the licence; None for what the run folder or the published card says.
        card: A file with the card to publish; None for the one made of the evaluation files.
        dry_run: Stop before anything is sent.
        verify: Whether to load the commit back and compare.
        tell: Is called with a line for the user after each step.

    Raises:
        PublishError: If anything must not or cannot be published.
    """
    repository = Repository(repo_id)
    state = published_state(repository, tell, dry_run=dry_run)
    with tempfile.TemporaryDirectory(prefix="hf-speech-publish-") as temporary:
        scratch = Path(temporary)
        probes = make_probes(run_dir)
        staged = stage(
            run_dir,
            scratch / "staged",
            repo_id=repo_id,
            card=None if card is None else _read_card(card),
            revision=tag,
            previous=published_text(repository, state, "README.md"),
            licence=licence,
            extra={PROBE_FILE: keep_if_same(probes, _published(repository, state, PROBE_FILE), scratch)},
        )
        for note in staged.notes:
            tell(note)
        text, tree = (staged.folder / "README.md").read_text(encoding="utf-8"), staged.tree()
        if dry_run:
            return Published(None, None, text, tree)
        pushed = push(staged, repository, public=public, tag=tag, create_pr=create_pr, message=message)
    tell(describe(pushed))
    verification = None
    if verify:
        tell("Verifying: downloading the commit and loading it where hf_speech does not exist.")
        with downloaded(repo_id, pushed.commit) as copy:
            verification = verify_model(copy, trust_code=True)
        if not verification.ok:
            raise PublishError(
                f"{repo_id}@{pushed.commit[:8]} does not compute what {run_dir} does ({verification.differences[0]}), "
                "so it was neither tagged nor opened: correct it and publish again."
            )
    if not create_pr:
        pushed = finish(pushed, public=public, tag=tag)
    return Published(pushed, verification, text, tree)


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


def published_state(repository: Repository, tell: Tell, *, dry_run: bool) -> State | None:
    """What is on the Hub now; a dry run goes on without knowing where it cannot be asked."""
    if not dry_run:
        return repository.look()
    try:
        return repository.look()
    except PublishError as error:
        tell(f"What is on the Hub now is not known here ({str(error).rstrip('.')}).")
        return None


def _published(repository: Repository, state: State | None, path: str) -> bytes | None:
    return None if state is None else repository.read(path, state)


def published_text(repository: Repository, state: State | None, path: str) -> str | None:
    """A text that is on the Hub now; None if there is none."""
    content = _published(repository, state, path)
    return None if content is None else content.decode("utf-8", errors="replace")


def _read_card(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PublishError(f"The card {path} cannot be read ({type(error).__name__}): give a Markdown file.") from error


__all__ = ["Published", "describe", "publish", "published_state", "published_text"]
