"""Runs experiments one after the other, and writes the page of results after each.

The page is made only from the records of the runs, so it can be regenerated, and no number is typed by hand.
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
    """Runs experiments one after the other, and writes the page after each.

    Args:
        names: Names of experiments or of single items; all of them if empty.
        folders: Where things are.
        page: The page of results to write.
        report: Takes a line about each item.

    Returns:
        The names of the items.

    Raises:
        RecipeError: If there is no such experiment.
        HFSpeechError: If an experiment fails; the page has all results before it.
    """
    items = choose_items(names)
    folders.records.mkdir(parents=True, exist_ok=True)
    for count, item in enumerate(items, start=1):
        done = " (already there)" if item.is_done(folders) else f" (about {item.minutes:.0f} minutes)"
        report(f"[{count}/{len(items)}] {item.name}: {item.what}{done}")
        record = {"name": item.name, **folders.without_folders(item.run(folders))}
        write_json(folders.records / f"{item.name}.json", record, indent=1)
        write_page(page, folders.records)
    return [item.name for item in items]


def choose_items(names: Sequence[str]) -> list[Item]:
    """The items of experiments or by their own names, all if there are no names."""
    known = {experiment.name: list(experiment.items) for experiment in EXPERIMENTS}
    known |= {item.name: [item] for experiment in EXPERIMENTS for item in experiment.items}
    chosen: list[Item] = []
    for name in names or [experiment.name for experiment in EXPERIMENTS]:
        if name not in known:
            raise RecipeError(f"There is no experiment {name!r}: there are {', '.join(known)}.")
        chosen += [item for item in known[name] if item not in chosen]
    return chosen
