"""A model of sentences or words that nobody has recorded: synthesized, trained, and measured on voices held out.

Decisions:

* It is an ordinary training from a recipe whose corpus is made here: every line of the text, in many voices.
* A few lines are all there is to say: each speaker of each split says each of them, and the test is on other voices. Of
  many lines, a tenth is also held out.
* With a model to start from, features, text and model are those of that model, and the recipe gives the rest.
* Real speech keeps a model from learning what only synthetic voices have: a recipe may list it beside the entry
  `synthetic`, and `old_data_dir` adds what the first model was trained on.
* The language model is of the same lines: only these are expected.
* From a grammar in JSGF, sentences are drawn; for the language model many more, and anew, so that its weight is not
  tuned on sentences that it contains.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hf_speech.common.digests import digest_data
from hf_speech.common.fingerprint import LANGUAGE_MODEL
from hf_speech.data import grammar
from hf_speech.data.cache import build_once, cache_dir
from hf_speech.data.corpora import Corpus, Keywords, Mixture, Synthetic
from hf_speech.decoding import build_arpa
from hf_speech.errors import HFSpeechError, RecipeError
from hf_speech.evaluation import EvaluationReport, evaluate_model
from hf_speech.evaluation.rows import ALL, select_rows
from hf_speech.inference import BeamOptions, LoadedModel, load_model, tune_beam
from hf_speech.tasks.text import read_plain_text
from hf_speech.training.adapt import corpus_of_clips, old_corpora, own_recipe
from hf_speech.training.recipe import Recipe, find_recipe, load_recipe
from hf_speech.training.run import TrainingResult, train
from hf_speech.training.warm_start import BaseModel

RECIPE = "from_text"
FEW = 300
"""Sentences up to which every speaker says each of them."""
UTTERANCES = 1500
"""Training utterances, about, of few sentences."""
LONGEST_NGRAM = 3
SENTENCES = 2000
"""Sentences that are drawn from a grammar, if not given."""
LANGUAGE_MODEL_SENTENCES = 20_000
"""Sentences that are drawn from a grammar for its language model."""
# A fast voice may say a sentence in fewer frames than it has letters: that is reported, and does not stop training.
SKIPPING = {"bad_rows": "skip"}


@dataclass(frozen=True)
class Measurement:
    """A report on some recordings.

    Attributes:
        what: What they are.
        greedy: The report of the model alone.
        with_language_model: The report of a search with the language model, for a recognizer.
    """

    what: str
    greedy: EvaluationReport
    with_language_model: EvaluationReport | None = None


def from_text_recipe(
    text: Path,
    recipe: str | Path = RECIPE,
    *,
    init_from: str | None = None,
    old_data_dir: Path | None = None,
    voices: Sequence[str] | None = None,
    test_voices: Sequence[str] | None = None,
    sentences: int = SENTENCES,
    overrides: Sequence[str] = (),
) -> Recipe:
    """Writes the recipe that learns the lines of a text.

    Args:
        text: A file with a sentence, or for a recipe with classes a word, in each line; or a grammar in JSGF.
        recipe: The recipe whose corpus is replaced; of a mixture, the entry `synthetic`.
        init_from: A model to start from.
        old_data_dir: Folder of the corpus that this model was trained on, to mix in.
        voices: Voices as in `Synthetic.voices`.
        test_voices: Voices of the test split alone.
        sentences: Different sentences to draw from a grammar, at most.
        overrides: Command-line words, for any key of the recipe.

    Raises:
        RecipeError: If the recipe is a mixture without synthesized speech, or the model does not fit.
        CorpusError: If the text has too few lines.
    """
    file = find_recipe(recipe)
    content = {"name": text.stem} | (yaml.safe_load(file.read_text(encoding="utf-8-sig")) or {})
    lines = read_sentences(text, sentences)
    given = {"voices": voices, "test_voices": test_voices}
    options: dict[str, Any] = {key: list(names) for key, names in given.items() if names}
    section = content.get("corpus") or {}
    has_classes = load_recipe(file, to_train=False).task.text_options is None
    options |= {"words": lines} if has_classes else _sentences(lines)
    if isinstance(section, list):
        own = [entry for entry in section if entry.get("name") == Synthetic.name]
        if not own:
            raise RecipeError(f"{file} is a mixture without synthesized speech: give it an entry {{name: synthetic}}.")
        content["corpus"] = _mixture([{**options, **entry} if entry is own[0] else entry for entry in section])
    elif section.get("name") == Keywords.name:
        content["corpus"] = {**section, "data_dir": str(_clips_of_words(Synthetic(**options)))}
    else:
        kept = section if section.get("name") == Synthetic.name else {}
        content["corpus"] = {**SKIPPING, **options, **kept, "name": Synthetic.name}
    if init_from is not None:
        for key in ("features", "model", "text"):
            content.pop(key, None)
        content["model"] = {"init_from": init_from}
        if old_data_dir is not None:
            old = old_corpora(own_recipe(BaseModel.open(init_from)), old_data_dir, init_from)
            new = {key: value for key, value in content["corpus"].items() if key not in SKIPPING}
            weight = sum(entry["weight"] for entry in old)
            content["corpus"] = _mixture([*new.get("corpora", [{**new, "weight": weight}]), *old])
    return load_recipe(content, overrides)


def from_text(
    text: Path,
    recipe: str | Path = RECIPE,
    output_dir: str | Path | None = None,
    *,
    clips: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    command: str = "hf_speech.training.from_text(text)",
    **options: Any,
) -> tuple[TrainingResult, list[Measurement]]:
    """Trains a model of the lines of a text, builds its language model, and measures it.

    Args:
        text: As for `from_text_recipe`, like `recipe` and `options`.
        output_dir: The run folder; `runs/NAME` by default.
        clips: Real recordings to measure on: a folder with a sub-folder for each class, or a table.
        resume: Whether to continue an interrupted training.
        overwrite: Whether a run folder that is there is replaced.
        command: The command line, for the records.
        **options: Those of `from_text_recipe`.

    Returns:
        The training, and the measurements.
    """
    if not text.is_file():
        raise HFSpeechError(f"There is no text {text}: give a file with a sentence, or a word, in each line.")
    resolved = from_text_recipe(text, recipe, **options)
    result = train(resolved, output_dir, resume=resume, overwrite=overwrite, command=command, splits=("validation",))
    loaded = load_model(result.run_dir, device="cpu")
    synthetic = _synthetic(resolved)
    beam = None if resolved.text is None else add_language_model(loaded, text, resolved, result.run_dir, command)
    sources: list[tuple[str, str, Corpus, str]] = [("synthetic voices held out", "test", synthetic, "test")]
    if clips is not None:
        corpus = load_recipe({"corpus": corpus_of_clips(clips.expanduser(), loaded)}, to_train=False).corpus
        sources.append(("real recordings", ALL, corpus, "clips"))
    measurements = []
    for what, split, corpus, name in sources:
        known: dict[str, Any] = {"trained_on": False} if split == ALL else {"options": resolved.text}
        found = select_rows(loaded, corpus.load(), split, corpus, **known)
        reports = [
            evaluate_model(
                loaded,
                found.rows,
                corpus=corpus.name,
                split=split,
                command=command,
                bad_rows=corpus.bad_rows,
                left_out=found.left_out,
                beam=search,
            )
            for search in ([None] if beam is None else [None, beam])
        ]
        for report, end in zip(reports, ("", "-lm"), strict=False):
            report.save(result.run_dir / "evaluation" / f"{name}{end}.json")
        measurements.append(Measurement(what, *reports))
    return result, measurements


def add_language_model(loaded: LoadedModel, text: Path, recipe: Recipe, run_dir: Path, command: str) -> BeamOptions:
    """Builds the language model of a text in a run folder, and tunes its weights on the voices held out.

    Args:
        loaded: The model of the run folder.
        text: The sentences, or the grammar.
        recipe: The recipe that it was trained with.
        run_dir: The run folder.
        command: The command line, for the record.
    """
    corpus, path = _synthetic(recipe), run_dir / LANGUAGE_MODEL
    options: Any = recipe.text
    lines = read_sentences(text, LANGUAGE_MODEL_SENTENCES, seed=1)
    build_arpa(map(options.normalize, lines), LONGEST_NGRAM, path)
    rows = select_rows(loaded, corpus.load(), "validation", corpus, options=options).rows
    best, _ = tune_beam(loaded, rows, BeamOptions(path))
    best.save(corpus=corpus.name, command=command)
    return best


def read_sentences(text: Path, count: int = SENTENCES, seed: int = 0) -> list[str]:
    """The different lines of a text, or at most `count` sentences of a grammar."""
    if text.suffix.lower() in grammar.SUFFIXES:
        return grammar.Grammar(text).sentences(count, seed)
    return list(dict.fromkeys(line.strip() for line in read_plain_text(text) if line.strip()))


def _mixture(corpora: list[dict[str, Any]]) -> dict[str, Any]:
    return {**SKIPPING, "name": Mixture.name, "corpora": corpora}


def _sentences(lines: Sequence[str]) -> dict[str, Any]:
    """The options of the synthetic corpus for sentences."""
    if len(lines) > FEW:
        return {"sentences": lines, "repetitions": 1, "train_speakers": 100}
    speakers = max(12, min(UTTERANCES // max(len(lines), 1), 100))
    held_out = max(2, min(FEW // max(len(lines), 1), 8))
    counts = {"train_speakers": speakers, "validation_speakers": held_out, "test_speakers": held_out}
    return {"sentences": lines, "sentence_fraction": 0.0, "repetitions": 1, **counts}


def _clips_of_words(corpus: Synthetic) -> Path:
    """A folder of links to synthesized words, with a sub-folder for each split and word, as `Keywords` reads it."""
    splits = corpus.splits()
    files = [str(clip.audio) for clips in splits.values() for clip in clips]
    folder = cache_dir() / "spoken_words" / digest_data(files)[:16]
    with build_once(folder) as part:
        for split, clips in splits.items() if part is not None else ():
            for clip in clips:
                place = Path(str(part)) / split / str(clip.label)
                place.mkdir(parents=True, exist_ok=True)
                os.link(str(clip.audio), place / f"{clip.speaker}_{Path(str(clip.audio)).name}")
    return folder


def _synthetic(recipe: Recipe) -> Any:
    """The synthesized speech of a recipe, or its corpus if that is links to some."""
    corpora = [member.corpus for member in getattr(recipe.corpus, "members", {}).values()]
    return next((corpus for corpus in corpora if isinstance(corpus, Synthetic)), recipe.corpus)


__all__ = ["Measurement", "add_language_model", "from_text", "from_text_recipe", "read_sentences"]
