"""Adapts a model to a new voice or room with a few clips.

* Adaptation is ordinary training from a generated recipe, so its run folder can be reproduced and published.
* The model keeps all its outputs (`model.init_outputs: keep`) and the features, text and augmentation of its recipe.
* With the original corpus, half of the training data is replayed from it. Without it, training is short and uses a low
  learning rate, to limit forgetting.
* If new clips are held out, the loss selects the best step, because the accuracy on a few clips hardly changes. The old
  validation split never selects alone: it would select the model that learned least.
* The model is measured before and after on the new clips and, if available, on the old corpus.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from datasets import Dataset

from hf_speech.common.files import write_json
from hf_speech.common.reading import TABLE_SUFFIXES
from hf_speech.data.download import is_archive
from hf_speech.errors import CorpusError, RecipeError
from hf_speech.evaluation import EvaluationReport, evaluate_model
from hf_speech.evaluation.rows import select_rows
from hf_speech.inference import LoadedModel, load_model
from hf_speech.training.recipe import Recipe, load_recipe, parse_overrides
from hf_speech.training.run import TrainingResult, train
from hf_speech.training.warm_start import BaseModel

COMPARISONS = "adaptation.json"
HELD_OUT = 0.2  # Fraction of the clips.
# Clips per class, or in total if there are no classes, that are needed to hold some out.
ENOUGH_PER_CLASS, ENOUGH = 3, 10
TRAINING: Mapping[str, Any] = {
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 32,
    "warmup_steps": 0.1,
    "lr_scheduler_type": "cosine",
    "report_to": "none",
}
WITH_REPLAY = {"max_steps": 300, "layerwise_learning_rate_decay": 1.0}
WITHOUT_REPLAY = {"max_steps": 120, "learning_rate": 5e-4, "layerwise_learning_rate_decay": 0.7}
CHOOSING = {"eval_steps": 0.1, "early_stopping_patience": 4, "metric_for_best_model": "loss"}
NOT_CHOOSING = {"eval_steps": 0.5, "load_best_model_at_end": False}
# Sections that are copied from the model's recipe.
KEPT_SECTIONS = ("text", "augmentation")


def adaptation_recipe(
    model: str, clips: str | Path, old_data_dir: str | Path | None = None, overrides: Sequence[str] = ()
) -> Recipe:
    """Returns a recipe that adapts a model.

    Args:
        model: A run folder, another model folder, or a Hub id with or without @REVISION.
        clips: A folder with a subfolder for each class, or a table of recordings with their classes or transcripts.
        old_data_dir: Folder of the original training corpus; None to train without it.
        overrides: Command-line arguments for any key of the recipe.

    Raises:
        RecipeError: If `old_data_dir` is given, but the model has no recipe that names its corpus.
        ModelError: If the model does not exist.
        CorpusError: If the clips do not exist.
    """
    base = BaseModel.open(model)
    own = own_recipe(base)
    new = corpus_of_clips(Path(clips).expanduser(), base.loaded)
    content: dict[str, Any] = {"name": f"{Path(base.name).name}-adapted", "task": base.loaded.task.name}
    content |= {section: own[section] for section in KEPT_SECTIONS if own.get(section)}
    if "text" in content:  # `init_outputs` keeps the characters; new words may not be in the dictionary.
        content["text"] = {key: value for key, value in content["text"].items() if key not in ("vocabulary", "lexicon")}
    content["model"] = {"init_from": model, "init_outputs": "keep"}
    new_recipe = load_recipe(content | {"corpus": new}, _corpus_overrides(overrides), to_train=False)
    base.loaded.task.check_columns(splits := new_recipe.corpus.load())
    if not splits["validation"]:
        new["validation_fraction"] = HELD_OUT if _can_hold_out(splits["train"], base.loaded) else 0.0
    if old_data_dir is None:
        content["corpus"] = new
    else:
        old = old_corpora(own, Path(old_data_dir), model)
        content["corpus"] = [{**new, "weight": sum(entry["weight"] for entry in old)}, *old]
    has_validation = bool(splits["validation"]) or new["validation_fraction"] > 0
    content["training"] = {
        **TRAINING,
        **(WITHOUT_REPLAY if old_data_dir is None else WITH_REPLAY),
        **(CHOOSING if has_validation else NOT_CHOOSING),
    }
    return load_recipe(content, overrides)


def adapt(
    model: str,
    clips: str | Path,
    old_data_dir: str | Path | None = None,
    overrides: Sequence[str] = (),
    output_dir: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    command: str = "hf_speech.training.adapt(model, clips)",
) -> tuple[TrainingResult, list[tuple[str, list[EvaluationReport]]]]:
    """Adapts a model to a few clips, and measures it before and after.

    Args:
        model: See `adaptation_recipe`.
        clips: See `adaptation_recipe`.
        old_data_dir: See `adaptation_recipe`.
        overrides: See `adaptation_recipe`.
        output_dir: The run folder; `runs/NAME-adapted` by default.
        resume: Whether to continue an interrupted adaptation.
        overwrite: Whether to replace an existing run folder.
        command: The command line, for the records.

    Returns:
        The result of the training; and for each set of clips, its description and the reports on the original and on
        the adapted model.
    """
    recipe = adaptation_recipe(model, clips, old_data_dir, overrides)
    result = train(recipe, output_dir, resume=resume, overwrite=overwrite, command=command)
    before = BaseModel.open(str(recipe.warm_start.init_from)).loaded
    after = load_model(result.run_dir, device="cpu")
    comparisons: list[tuple[str, list[EvaluationReport]]] = []
    entries = []
    for number, corpus in enumerate(getattr(recipe.corpus, "corpora", None) or [recipe.corpus]):
        corpus = getattr(corpus, "corpus", corpus)  # The corpus of an entry of a mixture.
        splits = corpus.load()
        for split in ("validation", "test"):
            if not splits[split]:
                continue
            description = f"{'new clips' if number == 0 else corpus.name}, {split}"
            rows = select_rows(after, splits, split, corpus, trained_on=False).rows
            reports = [
                evaluate_model(m, rows, corpus=corpus.name, split=split, command=command, bad_rows=corpus.bad_rows)
                for m in (before, after)
            ]
            comparisons.append((description, reports))
            old, new = reports
            metrics = {"before": old.metrics, "after": new.metrics, "confidence": new.confidence}
            entries.append({"what": description, "num_utterances": new.num_utterances, **metrics})
            if number > 0:
                new.save(result.run_dir / "evaluation" / f"{corpus.name}-{split}.json")
    write_json(result.run_dir / COMPARISONS, {"command": command, "rows": entries})
    return result, comparisons


def own_recipe(base: BaseModel) -> dict[str, Any]:
    """Returns the recipe of a model as plain data, or an empty mapping if it has none."""
    file = base.loaded.find_file("recipe.yaml")
    content = None if file is None else yaml.safe_load(file.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}


def corpus_of_clips(clips: Path, loaded: LoadedModel) -> dict[str, Any]:
    """Returns the section `corpus` for a folder or a table; the model's task determines the target column."""
    fractions = {"validation_fraction": 0.0, "test_fraction": 0.0}
    is_table = clips.exists() and clips.suffix.lower() in TABLE_SUFFIXES
    if not (is_table or clips.is_dir() or (clips.is_file() and is_archive(clips))):
        problem = "is neither a folder nor a table" if clips.exists() else "does not exist"
        raise CorpusError(
            f"{clips} {problem}: give a folder with a subfolder for each class, or a table (.csv, .jsonl) of clips."
        )
    if not is_table:
        return {"name": "folder", "data_dir": str(clips), **fractions}
    columns: dict[str, str | None] = {"label_column": None, "text_column": None}
    columns |= {f"{loaded.task.target_column}_column": loaded.task.target_column}
    return {"name": "csv", "train_file": str(clips), **columns, **fractions}


def _corpus_overrides(overrides: Sequence[str]) -> list[str]:
    """Returns the overrides of the new corpus; those of other sections have a dot."""
    return [
        f"--{key.removeprefix('corpus.0.')}={value}"
        for key, value in parse_overrides(overrides).items()
        if key.startswith("corpus.0.") or ("." not in key and key != "name")
    ]


def _can_hold_out(rows: Dataset, loaded: LoadedModel) -> bool:
    """Returns whether there are enough clips to hold some out."""
    groups = loaded.task.target_groups(rows)
    if groups is None:
        return len(rows) >= ENOUGH
    counts = Counter(rows[loaded.task.target_column])
    return bool(counts) and min(counts.values()) >= ENOUGH_PER_CLASS


def old_corpora(own: Mapping[str, Any], data_dir: Path, model: str) -> list[dict[str, Any]]:
    """Returns the entries of a mixture for the corpus or corpora that a model was trained on."""
    section = dict(own.get("corpus") or {})
    if not section.get("name"):
        raise RecipeError(f"{model} has no recipe.yaml that names its corpus: omit --old_data_dir.")
    shared = {key: section[key] for key in ("seed", "min_duration", "max_duration") if key in section}
    entries = []
    for entry in section.get("corpora") or [section]:
        entry = {key: value for key, value in (shared | dict(entry)).items() if key != "bad_rows"}
        folder = data_dir / entry["name"] if "corpora" in section else data_dir
        if "corpora" not in section or folder.exists():
            entry["data_dir"] = str(folder)
        entries.append({**entry, "weight": 1.0 if entry.get("weight") is None else entry["weight"]})
    return entries
