"""The verbs of `hf-speech` that train many models with one question: compare, search, experiments. No logic either.

They stand apart from `cli` for their number of options; `cli` takes them in.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

Over = Annotated[list[str], typer.Option("--over", help="KEY=VALUE,VALUE,...; may be given several times.")]
OutputDir = Annotated[Path | None, typer.Option("--output_dir", help="Folder of the run folders and the table.")]


def compare(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="A YAML file, or the name of a recipe of the package.")],
    over: Over,
    output_dir: OutputDir = None,
) -> None:
    """Train variants of a recipe and lay them side by side; run again, it goes on where it was interrupted.

    --over features.normalization=none,utterance,global,peak tries four; a second --over multiplies. Keys that vary
    together are joined: --over features.feature_type+features.num_deltas=mfcc+0,mfcc+2. Further options are those of
    `hf-speech train`, for all variants. The table is written as CSV and markdown, too (runs/compare-NAME).
    """
    from hf_speech.experiments import compare as compare_variants
    from hf_speech.experiments import parse_axis

    axes = [parse_axis(axis) for axis in over]
    comparison = compare_variants(recipe, axes, context.args, output_dir, _command_line())
    typer.echo(f"\n{comparison.text()}")


def search(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="A YAML file, or the name of a recipe of the package.")],
    over: Over,
    trials: Annotated[int, typer.Option("--trials", min=1, help="Trials, those of before included.")] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Seed of what is proposed.")] = 0,
    prune: Annotated[bool, typer.Option("--prune", help="Break trials off that lag behind most others.")] = False,
    output_dir: OutputDir = None,
) -> None:
    """Search for the best values of some keys with Optuna; run again, it goes on where it was interrupted.

    --over training.num_train_epochs=20..80 is a range (with :log drawn on a logarithmic scale), --over
    model.hidden_size=64,128 a choice. The validation split decides; the best trial alone is tested. Further options are
    those of `hf-speech train`, for all trials. Tables are written to runs/search-NAME.
    """
    from hf_speech.experiments import parse_axis
    from hf_speech.experiments import search as search_values

    result = search_values(
        recipe,
        [parse_axis(axis) for axis in over],
        context.args,
        trials=trials,
        output_dir=output_dir,
        seed=seed,
        prune=prune,
        command=_command_line(),
    )
    typer.echo(f"\n{result.text()}")
    value = result.record.value("test")
    tested = "" if value is None else f": {value:.2%} {result.metric} on the test split"
    typer.echo(f"\nThe best trial lies in {result.run_dir}{tested}. Train it again with\n  {result.record.command}")


def experiments(
    names: Annotated[list[str] | None, typer.Argument(help="Experiments, or parts of them; all without.")] = None,
    corpora: Annotated[
        Path | None, typer.Option("--corpora", help="Folder that holds the folders of all corpora; or they download.")
    ] = None,
    runs: Annotated[Path, typer.Option("--runs", help="Folder of the run folders.")] = Path("runs/experiments"),
    page: Annotated[Path, typer.Option("--page", help="The page to write.")] = Path("docs/results.md"),
    only_list: Annotated[bool, typer.Option("--list", help="Say what there is and how long it takes.")] = False,
    only_page: Annotated[bool, typer.Option("--only_page", help="Write the page of what was run before.")] = False,
) -> None:
    """Run the published experiments and write the page of results; run again, it goes on where it was interrupted."""
    from hf_speech.experiments import Place, choose_items, run_experiments, write_page

    place = Place(corpora, runs, page.parent / page.stem)
    if only_list:
        for item in choose_items(names or []):
            done = "done" if item.is_done(place) else f"about {item.minutes:.0f} minutes"
            typer.echo(f"{item.name:<36}{done:<20}{item.what}")
    elif only_page:
        write_page(page, place.records)
        typer.echo(f"Written: {page}")
    else:
        done_items = run_experiments(names or [], place, page, typer.echo)
        typer.echo(f"{len(done_items)} parts are done. Written: {page}")


def register(app: typer.Typer, open_context: dict[str, Any]) -> None:
    """Gives the verbs to the command line.

    Args:
        app: The command line.
        open_context: Settings of verbs that pass what they do not know on to the recipe.
    """
    app.command(context_settings=open_context)(compare)
    app.command(context_settings=open_context)(search)
    app.command()(experiments)


def _command_line() -> str:
    """The command as typed, for the record in tables."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
