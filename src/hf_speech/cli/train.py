"""`hf-speech train`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from hf_speech.cli.process import command_line
from hf_speech.common.console import echo
from hf_speech.common.ranges import find_ranges

if TYPE_CHECKING:
    from hf_speech.training import Recipe


def train(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="A YAML file, or the name of a built-in recipe.")] = "digits",
    output_dir: Annotated[
        Path | None, typer.Option("--output_dir", help="Run folder.", show_default="runs/NAME")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run folder.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Print the time of each part of training.")] = False,
) -> None:
    """Train and evaluate the model of a recipe.

    Every key of the recipe is also an option: --training.learning_rate 1e-3, --model.hidden_size 64,
    --corpus.name fsdd. An option without a dot is a key of the corpus: --data_dir DIR, --holdout_speaker NAME.
    --init_from MODEL starts from the weights of a run folder or of a model on the Hub.
    """
    if recipe.startswith("-"):  # The recipe was omitted, so this is an option.
        context.args.insert(0, recipe)
        recipe = "digits"
    from hf_speech.training import load_recipe
    from hf_speech.training import train as train_recipe
    from hf_speech.training.processes import process_state

    loaded = load_recipe(recipe, [*context.args, *(["--training.profile", "true"] if profile else [])])
    result = train_recipe(loaded, output_dir, resume=resume, overwrite=overwrite, command=command_line())
    if not process_state().is_main_process:  # Another process evaluates and reports.
        return
    run_dir = result.run_dir
    if loaded.training.learns_labels:
        headline = _headline(run_dir, result.metrics, loaded.corpus.name)
        commands = [
            f"{loaded.task.verb} {run_dir} SOUND_FILE",
            f"evaluate {run_dir} --split test",
            f"train {run_dir / 'recipe.yaml'} {_next_training(loaded, run_dir)}",
        ]
    else:
        headline, commands = "Trained on the teacher's states alone.", [f"train RECIPE --init_from {run_dir}"]
    echo(
        f"\n{headline}   ({result.num_parameters:,} parameters, trained in {result.seconds / 60:.1f} minutes)\n"
        f"The model is in {run_dir}. Next:"
    )
    for line in commands:
        echo(f"  hf-speech {line}")


def _headline(run_dir: Path, metrics: Mapping[str, object], corpus: str) -> str:
    """Returns a line with the main metric of a trained model, on the test split if there is one."""
    from hf_speech.evaluation import headline

    split = next((name for name in ("test", "validation") if name in metrics), None)
    if split is None:
        return f"Not evaluated: {corpus} has neither a test nor a validation split."
    return headline(json.loads((run_dir / "evaluation" / f"{split}.json").read_text(encoding="utf-8")))


def _next_training(recipe: Recipe, run_dir: Path) -> str:
    """Returns options for a larger model, or for continuing from this one if another model determines its size."""
    if recipe.warm_start.init_from is not None:
        return f"--init_from {run_dir} --data_dir MORE"
    size = max(2 * int(recipe.model.get("hidden_size") or 0), 256)
    return f"--name {recipe.name}-{size} --model.hidden_size {size}"


class TrainCommand(TyperCommand):
    """A command whose help lists the numeric keys of a recipe with their ranges."""

    def format_epilog(self, context: Any, formatter: Any) -> None:
        """Writes the numeric keys, their ranges and defaults."""
        from hf_speech.data.augmentation import Augmentation
        from hf_speech.training.options import TrainingOptions

        for section, kind in (("training", TrainingOptions), ("augmentation", Augmentation)):
            defaults = {field.name: field.default for field in dataclasses.fields(kind)}
            rows = [
                (f"--{section}.{name}", f"{range_} [default: {defaults[name]}]".replace("None", "null"))
                for name, range_ in find_ranges(kind).items()
            ]
            with formatter.section(f"Numeric keys of the recipe section {section}"):
                formatter.write_dl(rows)
        formatter.write_text("docs/recipes.md explains all keys.")


COMMAND_CLASS = TrainCommand
