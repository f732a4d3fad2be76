"""Trains a model from a list of sentences or words by synthesizing them, and evaluates it on held-out voices.

Decisions:

* This is ordinary training from a recipe, with a corpus that contains every line of the text in many voices.
* If there are few lines, each speaker of each split speaks all of them, and the test split differs only in its voices.
  If there are many lines, a tenth is held out as well.
* A model to start from determines the keys `features`, `text` and `model`; the recipe gives the rest.
* Real speech keeps the model from relying on artifacts of synthetic voices. A recipe may list real speech next to the
  entry `synthetic`, and `old_data_dir` adds the training data of the first model.
* The language model is built from the same lines, since no others are expected.
* Sentences are sampled from a JSGF grammar. The language model gets a larger, separate sample, so that its weight is
  not tuned only on sentences that it contains.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
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
FEW_SENTENCES = 300
"""With up to this many sentences, every speaker speaks all of them."""
TARGET_UTTERANCES = 1500
"""Approximate number of training utterances if there are few sentences."""
NGRAM_ORDER = 3
SENTENCES = 2000
"""Default number of sentences to sample from a grammar."""
LANGUAGE_MODEL_SENTENCES = 20_000
"""Number of sentences to sample from a grammar for its language model."""
# With a fast voice, an utterance may have fewer frames than letters. It is reported and skipped.
SKIP_BAD_ROWS = {"bad_rows": "skip"}


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
    """Returns the recipe for training on the lines of a text.

    Args:
        text: A file with one sentence per line (one word for a recipe with classes), or a JSGF grammar.
        recipe: The recipe whose corpus is replaced; of a mixture, only the entry `synthetic`.
        init_from: A model to start from.
        old_data_dir: Folder of the training corpus of `init_from`, to mix in.
        voices: Voices; see `Synthetic.voices`.
        test_voices: Voices used only in the test split.
        sentences: Maximum number of different sentences to sample from a grammar.
        overrides: Command-line arguments for any key of the recipe.

    Raises:
        RecipeError: If the recipe is a mixture without synthesized speech, or does not fit the model.
        CorpusError: If the text has too few lines.
    """
    file = find_recipe(recipe)
    content = {"name": text.stem} | (yaml.safe_load(file.read_text(encoding="utf-8-sig")) or {})
    lines = read_sentences(text, sentences)
    voice_options = {"voices": voices, "test_voices": test_voices}
    options: dict[str, Any] = {key: list(names) for key, names in voice_options.items() if names}
    section = content.get("corpus") or {}
    has_classes = load_recipe(file, to_train=False).task.text_options is None
    options |= {"words": lines} if has_classes else _sentence_options(lines)
    if isinstance(section, list):
        synthetic = [entry for entry in section if entry.get("name") == Synthetic.name]
        if not synthetic:
            raise RecipeError(f"{file} is a mixture without synthesized speech: add an entry {{name: synthetic}}.")
        content["corpus"] = _mixture([{**options, **entry} if entry is synthetic[0] else entry for entry in section])
    elif section.get("name") == Keywords.name:
        content["corpus"] = {**section, "data_dir": str(_link_word_clips(Synthetic(**options)))}
    else:
        kept = section if section.get("name") == Synthetic.name else {}
        content["corpus"] = {**SKIP_BAD_ROWS, **options, **kept, "name": Synthetic.name}
    if init_from is not None:
        for key in ("features", "model", "text"):
            content.pop(key, None)
        content["model"] = {"init_from": init_from}
        if old_data_dir is not None:
            old = old_corpora(own_recipe(BaseModel.open(init_from)), old_data_dir, init_from)
            new = {key: value for key, value in content["corpus"].items() if key not in SKIP_BAD_ROWS}
            total = sum(entry["weight"] for entry in old)
            content["corpus"] = _mixture([*_with_weights(new.get("corpora", [new]), total), *old])
            # Corpora with weights need batches with a number of utterances (see `make_datasets`).
            content["training"] = {**(content.get("training") or {}), "max_batch_seconds": None}
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
) -> tuple[TrainingResult, list[tuple[str, list[EvaluationReport]]]]:
    """Trains a model on the lines of a text, builds its language model, and evaluates it.

    Args:
        text: The text or grammar; see `from_text_recipe`.
        recipe: The recipe; see `from_text_recipe`.
        output_dir: The run folder; `runs/NAME` by default.
        clips: Real recordings for evaluation: a folder with a subfolder for each class, or a table.
        resume: Whether to continue an interrupted training.
        overwrite: Whether to replace an existing run folder.
        command: The command line, for the record.
        **options: Further arguments of `from_text_recipe`.

    Returns:
        The training; and for each set of recordings, its description and the reports: of the model alone and, for a
        recognizer, of a beam search with the language model.

    Raises:
        HFSpeechError: If the text is missing, or the training or an evaluation fails.
    """
    if not text.is_file():
        raise HFSpeechError(f"There is no text {text}: give a file with one sentence, or one word, per line.")
    resolved = from_text_recipe(text, recipe, **options)
    result = train(resolved, output_dir, resume=resume, overwrite=overwrite, command=command, splits=("validation",))
    loaded = load_model(result.run_dir, device="cpu")
    synthetic = _synthetic_corpus(resolved)
    beam = None if resolved.text is None else add_language_model(loaded, text, resolved, result.run_dir, command)
    sources: list[tuple[str, str, Corpus, str]] = [("held-out synthetic voices", "test", synthetic, "test")]
    if clips is not None:
        corpus = load_recipe({"corpus": corpus_of_clips(clips.expanduser(), loaded)}, to_train=False).corpus
        sources.append(("real recordings", ALL, corpus, "clips"))
    measurements: list[tuple[str, list[EvaluationReport]]] = []
    for description, split, corpus, name in sources:
        selection: dict[str, Any] = {"trained_on": False} if split == ALL else {"options": resolved.text}
        found = select_rows(loaded, corpus.load(), split, corpus, **selection)
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
        for report, suffix in zip(reports, ("", "-lm"), strict=False):
            report.save(result.run_dir / "evaluation" / f"{name}{suffix}.json")
        measurements.append((description, reports))
    return result, measurements


def add_language_model(loaded: LoadedModel, text: Path, recipe: Recipe, run_dir: Path, command: str) -> BeamOptions:
    """Builds the language model of a text in a run folder, and tunes its weights on the validation split.

    Args:
        loaded: The trained model.
        text: The sentences, or the grammar.
        recipe: The recipe of the training.
        run_dir: The run folder.
        command: The command line, for the record.

    Returns:
        The tuned options.
    """
    corpus, path = _synthetic_corpus(recipe), run_dir / LANGUAGE_MODEL
    options: Any = recipe.text
    lines = read_sentences(text, LANGUAGE_MODEL_SENTENCES, seed=1)
    build_arpa(map(options.normalize, lines), NGRAM_ORDER, path)
    rows = select_rows(loaded, corpus.load(), "validation", corpus, options=options).rows
    best, _ = tune_beam(loaded, rows, BeamOptions(path))
    best.save(corpus=corpus.name, command=command)
    return best


def read_sentences(text: Path, count: int = SENTENCES, seed: int = 0) -> list[str]:
    """Returns the distinct lines of a text, or up to `count` sentences sampled from a grammar."""
    if text.suffix.lower() in grammar.SUFFIXES:
        return grammar.Grammar(text).sentences(count, seed)
    return list(dict.fromkeys(line.strip() for line in read_plain_text(text) if line.strip()))


def _mixture(corpora: list[dict[str, Any]]) -> dict[str, Any]:
    return {**SKIP_BAD_ROWS, "name": Mixture.name, "corpora": corpora}


def _with_weights(corpora: list[dict[str, Any]], total: float) -> list[dict[str, Any]]:
    """Returns entries of a mixture with their weights (by default 1), scaled so that they sum to `total`."""
    weights = [1.0 if entry.get("weight") is None else float(entry["weight"]) for entry in corpora]
    scale = total / (sum(weights) or 1.0)
    return [{**entry, "weight": weight * scale} for entry, weight in zip(corpora, weights, strict=True)]


def _sentence_options(lines: Sequence[str]) -> dict[str, Any]:
    """Returns the options of the synthetic corpus for sentences."""
    if len(lines) > FEW_SENTENCES:
        return {"sentences": lines, "repetitions": 1, "train_speakers": 100}
    speakers = max(12, min(TARGET_UTTERANCES // max(len(lines), 1), 100))
    held_out = max(2, min(FEW_SENTENCES // max(len(lines), 1), 8))
    counts = {"train_speakers": speakers, "validation_speakers": held_out, "test_speakers": held_out}
    return {"sentences": lines, "sentence_fraction": 0.0, "repetitions": 1, **counts}


def _link_word_clips(corpus: Synthetic) -> Path:
    """Returns a folder with links to synthesized words, in subfolders by split and word, for `Keywords`."""
    splits = corpus.splits()
    files = [str(clip.audio) for clips in splits.values() for clip in clips]
    folder = cache_dir() / "spoken_words" / digest_data(files)[:16]
    with build_once(folder) as part:
        for split, clips in splits.items() if part is not None else ():
            for clip in clips:
                label_folder = Path(str(part)) / split / str(clip.label)
                label_folder.mkdir(parents=True, exist_ok=True)
                os.link(str(clip.audio), label_folder / f"{clip.speaker}_{Path(str(clip.audio)).name}")
    return folder


def _synthetic_corpus(recipe: Recipe) -> Any:
    """Returns the synthetic corpus of a recipe, or for keywords, the corpus of links to synthesized words."""
    corpora = [member.corpus for member in getattr(recipe.corpus, "members", {}).values()]
    return next((corpus for corpus in corpora if isinstance(corpus, Synthetic)), recipe.corpus)
