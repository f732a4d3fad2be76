"""Explores the training data of a recipe: writes a folder with tables, charts, audio examples and an HTML page.

Unusable rows are listed and left out of the charts. Corpus, features and augmentation come from the same code as in
training, so the page shows exactly the training data.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import shutil
from pathlib import Path
from typing import Any

from datasets import DatasetDict
from soundfile import SoundFileError

from hf_speech.common.files import FileError, file_error, write_json
from hf_speech.data.first_pass import FirstPass
from hf_speech.data.inspection import survey_corpus
from hf_speech.data.reports import InspectionReport
from hf_speech.errors import CorpusError, HFSpeechError, RecipeError
from hf_speech.exploration.charts import TARGET_CHARTS, plot_durations, plot_speakers
from hf_speech.exploration.examples import (
    add_augmented,
    choose_examples,
    every_nth,
    make_examples,
    save_examples,
)
from hf_speech.exploration.page import MASKS, PAGE, Exploration, is_exploration, write_page, write_placeholder
from hf_speech.exploration.table import read_table
from hf_speech.models import SpeechFeatureExtractor
from hf_speech.training.building import count_logit_frames, make_feature_extractor, make_model
from hf_speech.training.recipe import Recipe

CHARTS = ("labels.png", "durations.png", "speakers.png")


def explore(
    recipe: Recipe,
    output_dir: str | Path | None = None,
    *,
    augmented: bool = False,
    split: str = "train",
    examples: int | None = None,
    command: str = "hf_speech.exploration.explore(recipe)",
) -> Exploration:
    """Writes tables, charts and audio examples of a recipe's corpus.

    Args:
        recipe: A resolved recipe, from `load_recipe`.
        output_dir: The folder to write; `explored/NAME` by default. An earlier exploration in it is replaced.
        augmented: Whether to show each example also with the recipe's augmentation.
        split: The split of the examples.
        examples: Number of examples, per class if there are classes; None for a few of at most 40 classes.
        command: The command named on the page.

    Raises:
        HFSpeechError: If the recipe cannot be used, the corpus does not exist, or `augmented` is set and the recipe has
            no augmentation.
    """
    folder = Path(output_dir) if output_dir is not None else Path("explored") / recipe.name
    _check_free(folder)
    if augmented:
        _check_augmented(recipe, split)
    source = dataclasses.replace(recipe.corpus, bad_rows="skip")
    loaded = source.load()
    recipe.task.check_columns(loaded)
    if split not in loaded:
        raise RecipeError(f"The corpus {recipe.corpus.name} has no split {split!r}: choose from {', '.join(loaded)}.")
    extractor = make_feature_extractor(recipe)
    first_pass = FirstPass(extractor)
    report = survey_corpus(loaded, source, extractor.sampling_rate, first_pass=first_pass)
    config = _survey_targets(recipe, extractor, loaded, report)
    corpus = _good(loaded, report)

    table = read_table(loaded, report, recipe.task, recipe.text)
    exploration = Exploration(folder, table, report, notes=table.shared_speakers())
    exploration.notes += table.other_rates(extractor.sampling_rate)
    if _fit(exploration, first_pass, corpus) and len(corpus[split]):
        entries, rows = table.usable(split), corpus[split]
        classes = table.groups if examples is not None else every_nth(table.groups)
        positions = choose_examples(entries, examples or recipe.task.examples, classes, recipe.corpus.seed)
        exploration.examples, problems = make_examples(entries, rows, positions, extractor)
        exploration.notes += problems
        if augmented:
            add_augmented(
                exploration.examples, entries, rows, extractor, recipe.augmentation, config, recipe.training.seed
            )
    try:
        _clear(folder)
        table.save(folder / "table.csv")
        write_json(folder / "inspection.json", report.to_dict())
        _draw_charts(exploration)
        if exploration.examples:
            save_examples(exploration.examples, folder / "examples", extractor)
        write_page(exploration, recipe, extractor, split=split, command=command)
    except (OSError, FileError, SoundFileError) as error:
        _erase(folder)  # A partial exploration is useless, and the disk may be full.
        raise error if isinstance(error, FileError) else file_error(folder, error) from error
    return exploration


def _survey_targets(
    recipe: Recipe, extractor: SpeechFeatureExtractor, loaded: DatasetDict, report: InspectionReport
) -> Any:
    """Adds the task's findings about targets to the report, and returns the configuration of the recipe's model.

    Errors of the corpus become warnings; the configuration is None if no model can be made for the corpus.
    """
    task, corpus = recipe.task, _good(loaded, report)
    try:
        task.load_lexicon(corpus, recipe.text, recipe.corpus.lexicon())
    except HFSpeechError as error:
        report.warnings.append(str(error))
    try:
        tokenizer = task.make_tokenizer(corpus, recipe.text)
        model = make_model(recipe, extractor, corpus, tokenizer)
        frames_of = functools.partial(count_logit_frames, model, extractor)
        task.inspect_targets(
            corpus, report, bad_rows="skip", frames_of=frames_of, tokenizer=tokenizer, options=recipe.text
        )
    except CorpusError as error:
        report.warnings.append(str(error))
        return None
    return model.config


def _fit(exploration: Exploration, first_pass: FirstPass, corpus: DatasetDict) -> bool:
    """Fits global feature statistics if needed; adds a note and returns False if that fails."""
    try:
        first_pass.fit(corpus["train"]["audio"])
    except ValueError as error:
        exploration.notes.append(f"No examples can be shown: {error}")
        return False
    return True


def _good(loaded: DatasetDict, report: InspectionReport) -> DatasetDict:
    """Returns the corpus without unusable rows."""
    return DatasetDict({split: rows.select(report.splits[split].good_indices) for split, rows in loaded.items()})


def _draw_charts(exploration: Exploration) -> None:
    table, folder = exploration.table, exploration.folder
    if not table.usable():
        return
    TARGET_CHARTS[table.task.chart](table, folder / "labels.png")
    plot_durations(table, folder / "durations.png")
    exploration.charts = list(CHARTS[:2])
    if any(entry.speaker is not None for entry in table.usable()):
        plot_speakers(table, folder / "speakers.png")
        exploration.charts = list(CHARTS)


def _check_augmented(recipe: Recipe, split: str) -> None:
    if split != "train":
        raise RecipeError(f"Only the train split is augmented: leave out --augmented, or --split {split}.")
    if not recipe.augmentation.is_active and not any(recipe.model.get(name) for name in MASKS):
        raise RecipeError(
            "This recipe has no augmentation: add a section augmentation, such as speed: [0.9, 1.1], or masks in the "
            "section model, such as num_time_masks: 2, or leave out --augmented."
        )


def _check_free(folder: Path) -> None:
    """Raises if a folder contains anything other than an earlier exploration."""
    if folder.exists() and not folder.is_dir():
        raise RecipeError(f"{folder} is a file: give another folder as --output.")
    if folder.is_dir() and any(folder.iterdir()) and not is_exploration(folder / PAGE):
        raise RecipeError(f"{folder} contains something other than an exploration: give another folder as --output.")


def _clear(folder: Path) -> None:
    """Makes an empty folder, or removes the files of an earlier exploration."""
    folder.mkdir(parents=True, exist_ok=True)
    # Written first, so that the folder of an interrupted exploration can be written again.
    write_placeholder(folder / PAGE)
    _remove_files(folder)


def _erase(folder: Path) -> None:
    """Removes the files of an exploration, and the folder if it is then empty."""
    with contextlib.suppress(OSError):
        _remove_files(folder)
        (folder / PAGE).unlink(missing_ok=True)
        folder.rmdir()


def _remove_files(folder: Path) -> None:
    """Removes the files of an exploration except its page."""
    shutil.rmtree(folder / "examples", ignore_errors=True)
    for name in ("table.csv", "inspection.json", *CHARTS):
        (folder / name).unlink(missing_ok=True)
