"""`hf-speech search`."""

from __future__ import annotations

from typing import Annotated

import typer

from hf_speech.cli.options import OverOption, RecipeArgument, TableDirOption
from hf_speech.cli.process import command_line
from hf_speech.common.console import echo


def search(
    context: typer.Context,
    recipe: RecipeArgument,
    over: OverOption,
    trials: Annotated[
        int, typer.Option("--trials", min=1, help="Total number of trials, including earlier ones.")
    ] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the sampler.")] = 0,
    prune: Annotated[bool, typer.Option("--prune", help="Stop trials early that do worse than most others.")] = False,
    output_dir: TableDirOption = None,
) -> None:
    """Search for the best values of recipe keys with Optuna.

    After an interruption, run the same command again to continue.

    --over training.num_train_epochs=20..80 is a range (add :log for a logarithmic scale), and --over
    model.hidden_size=64,128 is a choice. Trials are ranked on the validation split; only the best one is evaluated on
    the test split. All options of `hf-speech train` are accepted and apply to every trial. Tables are written to
    runs/search-NAME by default.
    """
    from hf_speech.experiments import parse_axis
    from hf_speech.experiments import search as search_values
    from hf_speech.tasks import metric_named

    result = search_values(
        recipe,
        [parse_axis(axis) for axis in over],
        context.args,
        trials=trials,
        output_dir=output_dir,
        seed=seed,
        prune=prune,
        command=command_line(),
    )
    echo(f"\n{result.text()}")
    value = result.record.value("test")
    tested = "" if value is None else f": {metric_named(result.metric).format(value)} {result.metric} on the test split"
    echo(f"\nThe best trial is in {result.run_dir}{tested}. To train it again:\n  {result.record.command}")
