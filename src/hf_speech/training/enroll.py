"""Makes a detector of a new keyword from a few recordings, in minutes on a CPU.

There are two ways, depending on the model to start from:

* A recognizer that can stream detects the keyword by its phones; see `hf_speech.training.patterns`. Nothing is trained,
  so the detector also knows other speakers. Negatives determine weights and threshold.
* A keyword spotter for other words is trained further, from a generated recipe, with a new classifier. Few clips need
  much augmentation: each occurs many times per epoch, each time augmented differently, with context from the negatives
  before and after it. The beginnings and ends of the clips are negatives too. Other negatives are cut into short
  pieces, because a batch learns most from the first seconds of a long one. If eSpeak NG is installed, clips of its
  voices are added. One clip in five and the validation negatives are used to choose the threshold. Training has a fixed
  number of steps, since so few clips cannot select a checkpoint.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from hf_speech.common.text import counted
from hf_speech.data.audio import resample
from hf_speech.data.cache import build_once, cache_dir, digest
from hf_speech.data.corpora.files import sound_files
from hf_speech.data.corpora.synthetic import SAMPLING_RATE, record
from hf_speech.data.voices import ENGINES, ENGLISH_ACCENTS, cast_speakers
from hf_speech.errors import CorpusError, RecipeError
from hf_speech.evaluation.thresholds import TunedThresholds, choose_thresholds
from hf_speech.inference import LoadedModel, load_model
from hf_speech.tasks import KeywordSpotting
from hf_speech.training.enroll_recognizer import enroll_in_recognizer
from hf_speech.training.recipe import Recipe, find_recipe, load_recipe, load_rows
from hf_speech.training.run import TrainingResult, train
from hf_speech.training.warm_start import BaseModel

RECIPE = "wake_words"
"""The built-in recipe whose augmentation is used."""
MIN_CLIPS = 3
SYNTHESIZED = 60
HELD_OUT = 0.2
CLIPS_PER_EPOCH = 1500
"""Number of clips of the keyword in an epoch, counting copies."""
CORPUS = {"name": "keywords", "test_fraction": 0.0, "negative_seconds": 6.0, "parts_as_negatives": True}
CONTEXT_BEFORE = [0.0, 3.0]
TRAINING = {
    "max_steps": 400,
    "learning_rate": 2e-3,
    "per_device_train_batch_size": 32,
    "weight_averaging": 0.99,
    # Keywords and negatives differ in length, so batches grouped by length would contain only one of them.
    "group_by_length": False,
    # Checkpoints are written, but not evaluated: `choose_thresholds` evaluates the validation negatives.
    "eval_steps": 0.5,
    "trainer_options": {"eval_strategy": "no"},
    "load_best_model_at_end": False,
    "cache_features": True,
    "report_to": "none",
}


def enrollment_recipe(base: BaseModel, word: str, clips: Sequence[str | Path], overrides: Sequence[str] = ()) -> Recipe:
    """Makes the recipe of a keyword spotter for a new keyword.

    Args:
        base: A keyword spotter for other words.
        word: The keyword.
        clips: Recordings of it, and folders of them.
        overrides: Command-line options for any key of the recipe; `--train_negatives` is required.

    Raises:
        CorpusError: If there are too few clips.
        RecipeError: If there are no negatives, or the model cannot stream.
    """
    task = KeywordSpotting()
    if not _can_stream(base.loaded):
        raise RecipeError(
            f"{base.name} cannot process a stream: start from a keyword spotter, or from a causal recognizer of the "
            f"family {task.model_types[0]}."
        )
    content: dict[str, Any] = {"name": word, "task": task.name, "training": TRAINING}
    content["model"] = {"init_from": base.source, "intermediate_ctc_weight": 0.0}
    folder, count = _collect(word, clips)
    content["corpus"] = {**CORPUS, "data_dir": str(folder), "clip_copies": max(CLIPS_PER_EPOCH // count, 1)}
    negatives, _ = _negatives(content, overrides)
    augmentation = yaml.safe_load(find_recipe(RECIPE).read_text(encoding="utf-8"))["augmentation"]
    content["augmentation"] = {**augmentation, "context_before": CONTEXT_BEFORE, "context_folders": negatives}
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
    """Makes a detector of a new keyword.

    Args:
        model: A keyword spotter for other words, or a recognizer that can stream: a run folder, another model folder,
            or a Hub id.
        word: The keyword.
        clips: Recordings of it, and folders of them.
        overrides: Command-line options; `--train_negatives` is required. For a keyword spotter, any key of the recipe.
        output_dir: The model folder; `runs/WORD` by default.
        rate: False alarms per hour for which the threshold is chosen.
        overwrite: Whether to replace an existing folder.
        command: The command line, for the records.

    Returns:
        The training result, and the threshold, which is None without validation negatives.
    """
    base = BaseModel.open(model)
    loaded = base.loaded
    if loaded.tokenizer is not None and _can_stream(loaded):
        train_negatives, validation_negatives = _negatives({"task": KeywordSpotting.name}, overrides)
        files = _check_clips(word, clips)
        run_dir = Path("runs") / word if output_dir is None else Path(output_dir)
        options: dict[str, Any] = {"rate": rate, "overwrite": overwrite, "command": command}
        return enroll_in_recognizer(loaded, word, files, train_negatives, validation_negatives, run_dir, **options)
    recipe = enrollment_recipe(base, word, clips, overrides)
    result = train(recipe, output_dir, overwrite=overwrite, command=command, splits=())
    if not getattr(recipe.corpus, "validation_negatives", None):
        return result, None
    loaded = load_model(result.run_dir, device="cpu")
    source, selection = load_rows(loaded, None, "validation", ())
    tuned = choose_thresholds(loaded, selection.rows, rate)
    tuned.options.save(result.run_dir, corpus=source.name, command=command, **tuned.origin(rate))
    return result, tuned


def _can_stream(loaded: LoadedModel) -> bool:
    return loaded.model.config.model_type in KeywordSpotting.model_types and bool(loaded.model.can_stream)


def _negatives(content: dict[str, Any], overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the folders of training and validation negatives of a recipe.

    Raises:
        RecipeError: If there are no training negatives.
    """
    corpus = load_recipe({"corpus": {"name": "keywords"}, **content}, overrides, to_train=False).corpus
    train_negatives, validation_negatives = (getattr(corpus, f"{split}_negatives") for split in ("train", "validation"))
    if not train_negatives:
        raise RecipeError("Recordings without the keyword are needed too: set --train_negatives '[DIR]'.")
    return train_negatives, validation_negatives or []


def _check_clips(word: str, clips: Sequence[str | Path]) -> list[Path]:
    """Returns the files of clips.

    Raises:
        CorpusError: If there are too few, one is missing, or the keyword is no name of a folder.
    """
    files = sound_files(clips)
    if missing := [path for path in files if not path.is_file()]:
        raise CorpusError(f"There is no recording {missing[0]}: give recordings, or folders of them.")
    if len(files) < MIN_CLIPS:
        found = counted(len(files), "recording")
        raise CorpusError(f"Only {found} of {word!r}: record it at least {MIN_CLIPS} times.")
    if not word.strip() or Path(word).name != word:
        raise CorpusError(f"The keyword {word!r} cannot name a folder: use one without slashes.")
    return files


def _collect(word: str, clips: Sequence[str | Path]) -> tuple[Path, int]:
    """Collects the clips in a folder of the cache; returns the folder and the number of training clips."""
    files = _check_clips(word, clips)
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
    """Writes clips of the keyword in voices of eSpeak NG."""
    rng = np.random.default_rng(0)
    speakers = cast_speakers({"train": ENGLISH_ACCENTS}, {"train": SYNTHESIZED}, rng)["train"]
    spoken = ENGINES["espeak"].speak([(word, speaker) for speaker in speakers])
    for speaker, (samples, rate) in zip(speakers, spoken, strict=True):
        if samples.any():
            recording = record(resample(samples, rate, SAMPLING_RATE), rng)
            soundfile.write(folder / f"{speaker.name}.wav", recording, SAMPLING_RATE, subtype="PCM_16")
