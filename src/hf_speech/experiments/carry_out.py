"""Running experiments, one after the other; the page of results is written anew after each.

The page is made of the records of what was run and of nothing else, so it can be made again anywhere, and no figure in
it has been typed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hf_speech.common.files import write_json
from hf_speech.errors import RecipeError
from hf_speech.experiments.page import write_page
from hf_speech.experiments.published import EXPERIMENTS
from hf_speech.experiments.suite import Item, Place


def run_experiments(names: Sequence[str], place: Place, page: Path, report: Callable[[str], None] = print) -> list[str]:
    """Runs experiments one after the other, and writes the page after each.

    Args:
        names: Names of experiments or of single items; all of them if empty.
        place: Where things are.
        page: The page of results to write.
        report: Takes a line about what is being done.

    Returns:
        The names of the items.

    Raises:
        RecipeError: If there is no such experiment.
        HFSpeechError: Whatever an experiment ran into; the page has all that went before.
    """
    items = choose_items(names)
    place.records.mkdir(parents=True, exist_ok=True)
    for count, item in enumerate(items, start=1):
        done = " (already there)" if item.is_done(place) else f" (about {item.minutes:.0f} minutes)"
        report(f"[{count}/{len(items)}] {item.name}: {item.what}{done}")
        record = {"name": item.name, **place.without_folders(item.run(place))}
        write_json(place.records / f"{item.name}.json", record, indent=1)
        write_page(page, place.records)
    return [item.name for item in items]


def choose_items(names: Sequence[str]) -> list[Item]:
    """The items of experiments or by their own names, all if there are no names.

    Raises:
        RecipeError: If there is no such experiment.
    """
    known = {experiment.name: list(experiment.items) for experiment in EXPERIMENTS}
    known |= {item.name: [item] for experiment in EXPERIMENTS for item in experiment.items}
    chosen: list[Item] = []
    for name in names or [experiment.name for experiment in EXPERIMENTS]:
        if name not in known:
            raise RecipeError(f"There is no experiment {name!r}: there are {', '.join(known)}.")
        chosen += [item for item in known[name] if item not in chosen]
    return chosen
