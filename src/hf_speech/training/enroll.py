"""A listener for a new keyword from a few recordings of it, in minutes on a CPU.

Decisions:

* It is an ordinary training from a recipe that is written here: a warm start from a keyword spotter for other words, or
  from a recognizer that can stream, whose layers know speech already, with a classifier for the new word alone.
* Few clips need the most variation: each occurs many times in an epoch, each time varied anew, with stretches of the
  negatives before and after it. Their beginnings and ends are negatives, and so are short pieces of the others: most
  of what a batch could learn from a long one, it learns from its first seconds.
* Where eSpeak NG is installed, it says the word too, in many voices. They are for training only.
* One clip in five chooses the threshold, with the validation negatives: see `choose_thresholds`. Training ends after a
  fixed number of steps, as so few clips cannot choose one.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from hf_speech.data.audio import resample
from hf_speech.data.cache import build_once, cache_dir, digest
from hf_speech.data.corpora.files import sound_files
from hf_speech.data.corpora.synthetic import SAMPLING_RATE, record
from hf_speech.data.voices import ENGINES, ENGLISH_ACCENTS, cast_speakers
from hf_speech.errors import CorpusError, RecipeError
from hf_speech.evaluation.thresholds import TunedThresholds, choose_thresholds
from hf_speech.inference import load_model
from hf_speech.tasks import KeywordSpotting
from hf_speech.training.recipe import Recipe, load_recipe, load_rows
from hf_speech.training.run import TrainingResult, train
from hf_speech.training.warm_start import BaseModel

FEWEST = 3
SYNTHESIZED = 60
HELD_OUT = 0.2
AS_OFTEN = 1500
"""How often the clips occur in an epoch, all together."""
CORPUS = {"name": "keywords", "test_fraction": 0.0, "negative_seconds": 6.0, "parts_as_negatives": True}
AUGMENTATION = {
    "probability": 0.85,
    "speed": [0.85, 1.18],
    "trim": 35.0,
    "context_before": [0.0, 3.0],
    "context_after": [0.1, 0.4],
    "equalizer": 8.0,
    "noise_snr": [3.0, 40.0],
    "gain": [-20.0, 6.0],
    # The copies of a clip differ; the epochs are alike, so that their features are computed once.
    "variants": 1,
}
TRAINING = {
    "max_steps": 400,
    "learning_rate": 2e-3,
    "per_device_train_batch_size": 32,
    "weight_averaging": 0.99,
    # The length of a clip tells whether it has the word: a batch grouped by length would have nothing to compare.
    "group_by_length": False,
    "eval_steps": 0.5,
    "load_best_model_at_end": False,
    "cache_features": True,
    "report_to": "none",
}


def enrollment_recipe(model: str, word: str, clips: Sequence[str | Path], overrides: Sequence[str] = ()) -> Recipe:
    """Writes the recipe of a listener for a new keyword.

    Args:
        model: A keyword spotter for other words, or a recognizer that can stream: a run folder, another model folder,
            or a Hub id.
        word: The keyword.
        clips: Recordings of it, and folders of them.
        overrides: Command-line words, for any key of the recipe: `--train_negatives` is needed.

    Raises:
        CorpusError: If there are too few clips.
        RecipeError: If there are no negatives, or the model cannot be one for a stream.
    """
    base, task = BaseModel.open(model).loaded.model, KeywordSpotting()
    if base.config.model_type not in task.model_types or not base.can_stream:
        raise RecipeError(
            f"{model} is no model for a stream: start from a keyword spotter, or from a recognizer of the family "
            f"{task.model_types[0]} with causal layers."
        )
    content: dict[str, Any] = {"name": word, "task": task.name, "training": TRAINING}
    content["model"] = {"init_from": model, "intermediate_ctc_weight": 0.0}
    folder, count = _collect(word, clips)
    content["corpus"] = {**CORPUS, "data_dir": str(folder), "clip_copies": max(AS_OFTEN // count, 1)}
    negatives = getattr(load_recipe(content, overrides, to_train=False).corpus, "train_negatives", None)
    if not negatives:
        raise RecipeError("Recordings without the word are needed too: name folders by --train_negatives '[DIR]'.")
    content["augmentation"] = {**AUGMENTATION, "context_folders": negatives}
    return load_recipe(content, overrides)


def enroll(
    model: str,
    word: str,
    clips: Sequence[str | Path],
    overrides: Sequence[str] = (),
    output_dir: str | Path | None = None,
    *,
    rate: float = 1.0,
    overwrite: bool = False,
    command: str = "hf_speech.training.enroll(model, word, clips)",
) -> tuple[TrainingResult, TunedThresholds | None]:
    """Makes a listener for a new keyword.

    Args:
        model: As for `enrollment_recipe`, like `word`, `clips` and `overrides`.
        output_dir: The model folder; `runs/WORD` by default.
        rate: False alarms an hour that the threshold is chosen for.
        overwrite: Whether a folder that is there is replaced.
        command: The command line, for the records.

    Returns:
        The training, and the threshold; None if there are no validation negatives to choose it on.
    """
    recipe = enrollment_recipe(model, word, clips, overrides)
    result = train(recipe, output_dir, overwrite=overwrite, command=command, splits=())
    if not getattr(recipe.corpus, "validation_negatives", None):
        return result, None
    loaded = load_model(result.run_dir, device="cpu")
    source, selection = load_rows(loaded, None, "validation", ())
    tuned = choose_thresholds(loaded, selection.rows, rate)
    tuned.options.save(result.run_dir, corpus=source.name, command=command, **tuned.origin(rate))
    return result, tuned


def _collect(word: str, clips: Sequence[str | Path]) -> tuple[Path, int]:
    """A folder in the cache with train and validation clips of the word; and how many are for training."""
    files = sound_files(clips)
    if len(files) < FEWEST:
        raise CorpusError(f"There are {len(files)} recordings of {word!r}: record it at least {FEWEST} times.")
    if missing := [path for path in files if not path.is_file()]:
        raise CorpusError(f"There is no recording {missing[0]}.")
    if not word.strip() or Path(word).name != word:
        raise CorpusError(f"The word is {word!r}: it names a folder, so give one without slashes.")
    speaks = importlib.util.find_spec("espeakng_loader") is not None
    folder = cache_dir() / "enrolled" / digest([{"path": str(path)} for path in files], word, speaks, SYNTHESIZED)
    with build_once(folder) as part:
        if part is not None:
            for split in ("train", "validation"):
                (part / split / word).mkdir(parents=True)
            for index, path in enumerate(files):
                held_out = index % round(1 / HELD_OUT) == 0
                split = "validation" if held_out else "train"
                # Half of the training clips are recordings.
                for copy in range(max(SYNTHESIZED // len(files), 1) if speaks and not held_out else 1):
                    shutil.copyfile(path, part / split / word / f"{index:03d}-{copy:02d}-{path.name}")
            if speaks:
                _synthesize(word, part / "train" / word)
    return folder, len(list((folder / "train" / word).iterdir()))


def _synthesize(word: str, folder: Path) -> None:
    """Writes the word in the voices of eSpeak NG."""
    rng = np.random.default_rng(0)
    speakers = cast_speakers({"train": ENGLISH_ACCENTS}, {"train": SYNTHESIZED}, rng)["train"]
    spoken = ENGINES["espeak"].speak([(word, speaker) for speaker in speakers])
    for speaker, (samples, rate) in zip(speakers, spoken, strict=True):
        if samples.any():
            recording = record(resample(samples, rate, SAMPLING_RATE), rng)
            soundfile.write(folder / f"{speaker.name}.wav", recording, SAMPLING_RATE, subtype="PCM_16")


__all__ = ["enroll", "enrollment_recipe"]
