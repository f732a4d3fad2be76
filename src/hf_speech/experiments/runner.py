"""Runs experiments and writes the results page.

The page is rendered from the records of the runs, so that no number on it is typed by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hf_speech.common.files import write_json
from hf_speech.errors import RecipeError
from hf_speech.experiments.catalog import EXPERIMENTS
from hf_speech.experiments.page import write_page
from hf_speech.experiments.suite import ExperimentFolders, Item


def run_experiments(
    names: Sequence[str], folders: ExperimentFolders, page: Path, report: Callable[[str], None] = print
) -> list[str]:
    """Runs experiments one after another and writes the page after each item.

    Args:
        names: Names of experiments or of single items; all experiments if empty.
        folders: Folders of corpora, runs and records.
        page: The results page to write.
        report: Called with a progress line for each item.

    Returns:
        The names of the items that were run.

    Raises:
        RecipeError: If a name is unknown.
        HFSpeechError: If an item fails. The page then contains the results of the items before it.
    """
    items = choose_items(names)
    folders.records.mkdir(parents=True, exist_ok=True)
    for count, item in enumerate(items, start=1):
        done = " (done)" if item.is_done(folders) else f" (about {item.minutes:.0f} minutes)"
        report(f"[{count}/{len(items)}] {item.name}: {item.description}{done}")
        record = {"name": item.name, **folders.without_local_paths(item.run(folders))}
        write_json(folders.records / f"{item.name}.json", record, indent=1)
        write_page(page, folders.records)
    return [item.name for item in items]


def choose_items(names: Sequence[str]) -> list[Item]:
    """Returns the items for names of experiments or items; all items if `names` is empty."""
    known = {experiment.name: list(experiment.items) for experiment in EXPERIMENTS}
    known |= {item.name: [item] for experiment in EXPERIMENTS for item in experiment.items}
    chosen: list[Item] = []
    for name in names or [experiment.name for experiment in EXPERIMENTS]:
        if name not in known:
            raise RecipeError(f"There is no experiment {name!r}: choose from {', '.join(known)}.")
        chosen += [item for item in known[name] if item not in chosen]
    return chosen
