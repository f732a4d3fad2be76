"""`hf-speech compare`."""

from __future__ import annotations

import typer

from hf_speech.cli.options import OverOption, RecipeArgument, TableDirOption
from hf_speech.cli.process import command_line
from hf_speech.common.console import echo


def compare(
    context: typer.Context, recipe: RecipeArgument, over: OverOption, output_dir: TableDirOption = None
) -> None:
    """Train variants of a recipe and compare them in a table.

    After an interruption, run the same command again to continue.

    --over features.normalization=none,utterance,global,peak trains four variants; a second --over multiplies them.
    Join keys that vary together with a plus: --over features.feature_type+features.num_deltas=mfcc+0,mfcc+2. All
    options of `hf-speech train` are accepted and apply to every variant. The table is also written as CSV and Markdown,
    by default to runs/compare-NAME.
    """
    from hf_speech.experiments import compare as compare_variants
    from hf_speech.experiments import parse_axis

    axes = [parse_axis(axis) for axis in over]
    comparison = compare_variants(recipe, axes, context.args, output_dir, command_line())
    echo(f"\n{comparison.text()}")
