"""The model card: rendered of the files of a run folder, and held against them."""

from __future__ import annotations

from pathlib import Path


def render_card(run_dir: Path, *, repo_id: str, revision: str | None = None, previous: str | None = None) -> str:
    """Renders the card of a run folder: YAML metadata and Markdown.

    Args:
        run_dir: The run folder.
        repo_id: `NAME/MODEL`, as the usage example will name it.
        revision: Tag, branch or commit at which the example pins the code; None for an example that says how to.
        previous: The card that is on the Hub now, whose hand-written sections survive.

    Raises:
        PublishError: If a file that the card needs is missing, damaged or of other weights.
    """
    raise NotImplementedError


def check_card(text: str, run_dir: Path) -> None:
    """Refuses a card with a number that no evaluation file backs.

    Args:
        text: The card.
        run_dir: The run folder, or a folder made of it by `stage`.

    Raises:
        PublishError: On the first number that the files do not have.
    """
    raise NotImplementedError
