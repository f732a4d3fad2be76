"""`hf-speech experiments`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hf_speech.common.console import echo
from hf_speech.common.text import counted


def experiments(
    names: Annotated[
        list[str] | None, typer.Argument(help="Experiments, or parts of experiments.", show_default="all")
    ] = None,
    corpora: Annotated[
        Path | None,
        typer.Option("--corpora", help="Folder with a subfolder for each corpus; without it, they are downloaded."),
    ] = None,
    runs: Annotated[Path, typer.Option("--runs", help="Folder for the run folders.")] = Path("runs/experiments"),
    page: Annotated[Path, typer.Option("--page", help="Results page to write.")] = Path("docs/results.md"),
    only_list: Annotated[bool, typer.Option("--list", help="List the experiments and their duration.")] = False,
    only_page: Annotated[bool, typer.Option("--only_page", help="Write the page from recorded results.")] = False,
) -> None:
    """Run the published experiments and write the results page.

    After an interruption, run the same command again to continue.
    """
    from hf_speech.experiments import ExperimentFolders, choose_items, run_experiments, write_page

    folders = ExperimentFolders(corpora, runs, page.parent / page.stem)
    if only_list:
        for item in choose_items(names or []):
            done = "done" if item.is_done(folders) else f"about {item.minutes:.0f} minutes"
            echo(f"{item.name:<36}{done:<20}{item.description}")
    elif only_page:
        write_page(page, folders.records)
        echo(f"Written: {page}")
    else:
        done_items = run_experiments(names or [], folders, page, echo)
        echo(f"{counted(len(done_items), 'part is', 'parts are')} done. Written: {page}")
