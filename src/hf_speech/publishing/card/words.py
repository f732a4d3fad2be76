"""The facts of a run folder in the words and tables of a card: what the templates are given.

Figures are percentages with one decimal, and with more where one would round to a perfect score. Nothing here is
computed that a file does not say, other than the rounding.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from hf_speech.data.corpora import CORPORA
from hf_speech.publishing.card.facts import Evaluation, RunFacts
from hf_speech.publishing.checks.leaks import shorten_paths
from hf_speech.tasks import get_task, metric_named

# Where the corpora of this package lie on the Hub, of those that do.
HUB_DATASETS = {
    "an4": "espnet/an4",
    "librispeech": "openslr/librispeech_asr",
    "ljspeech": "keithito/lj_speech",
    "speech_commands": "google/speech_commands",
}
# What the card's example and the code that travels import.
REQUIREMENTS = ("torch", "transformers", "huggingface_hub", "numpy", "librosa")
# Options of the models that only matter while they are trained.
REGULARIzERS = frozenset(
    {
        *("dropout", "input_dropout", "feature_noise", "label_smoothing", "mixup_alpha", "consistency_weight"),
        *("num_time_masks", "num_frequency_masks", "frequency_warp", "intermediate_ctc_weight"),
    }
)
MOST_GROUPS = 20


@dataclass(frozen=True)
class CorpusFacts:
    """What is known of a corpus.

    Attributes:
        name: What recipes call it.
        title: Its full name.
        homepage: Where it is described.
        license: Its terms.
        languages: BCP-47 codes of what is spoken.
        dataset: Its name in the card's metadata: on the Hub, if it is there.
        options: The recipe's section about it.
    """

    name: str
    title: str
    homepage: str | None
    license: str | None
    languages: list[str]
    dataset: str | None
    options: dict[str, Any]


def corpus_facts(name: str, options: dict[str, Any]) -> CorpusFacts:
    """What is known of a corpus, by its name and the recipe's options."""
    known = CORPORA.get(name)
    title = getattr(known, "title", name)
    homepage = getattr(known, "homepage", None)
    dataset = HUB_DATASETS.get(name, name if homepage else None)
    languages = [language] if (language := getattr(known, "language", None)) else []
    if options.get("repo"):
        title = dataset = str(options["repo"])
        homepage = f"https://huggingface.co/datasets/{dataset}"
    if not languages and options.get("voices"):  # eSpeak NG's names: en-us, en-gb-scotland
        languages = sorted({str(voice).partition("-")[0] for voice in options["voices"]})
    return CorpusFacts(name, title, homepage, getattr(known, "license", None), languages, dataset, options)


def corpus_template(name: str) -> str:
    """Which template of `corpora/` speaks of a corpus, if it is there: its own, or that of its kind."""
    return "acted_emotions" if hasattr(CORPORA.get(name), "emotions") else name


def trained_on(facts: RunFacts) -> CorpusFacts:
    """The corpus of the recipe, or of the first evaluation where there is no recipe."""
    options = facts.recipe.get("corpus") or {}
    return corpus_facts(str(options.get("name") or facts.main.corpus), options)


def measured_on(facts: RunFacts, evaluation: Evaluation) -> CorpusFacts:
    """The corpus of an evaluation."""
    own = trained_on(facts)
    return own if evaluation.corpus == own.name else corpus_facts(str(evaluation.corpus), {})


def card_context(facts: RunFacts, repo_id: str, revision: str | None) -> dict[str, Any]:
    """All that the templates are given, apart from metadata and hand-written sections."""
    main = facts.main
    trained = trained_on(facts)
    splits = _splits(facts)
    results: list[dict[str, Any]] = [
        {
            "file": entry.file,
            "table": _existing(facts.folder, f"{Path(entry.file).with_suffix('.csv')}"),
            "evaluation": entry,
            "corpus": measured_on(facts, entry),
            "rows": _rows(entry),
        }
        for entry in facts.evaluations
    ]
    return {
        "repo_id": repo_id,
        "name": repo_id.rpartition("/")[2],
        "revision": revision,
        "requirements": requirements(),
        "config": facts.config,
        "extractor": facts.extractor,
        "labels": _labels(facts.config),
        "characters": _characters(facts),
        "corpus": trained,
        "splits": splits,
        "split_names": [row["split"] for row in splits],
        "recipe": facts.recipe,
        "augmentation": _augmentation(facts.recipe.get("augmentation") or {}),
        "regularization": {
            name: value for name, value in (facts.recipe.get("model") or {}).items() if name in REGULARIzERS and value
        },
        "task": get_task(facts.task),
        "main": main,
        "main_corpus": measured_on(facts, main),
        "results": results,
        "headlines": [result for result in results if result["evaluation"].split == main.split],
        "groups": [_group_table(name, rows) for name, rows in main.breakdowns.items() if rows],
        "confusions": _existing(facts.folder, f"{Path(main.file).with_suffix('')}-confusions.png"),
        "curves": _existing(facts.folder, "curves.png"),
        "validated": any("eval_loss" in entry for entry in facts.training.get("log", ())),
        "language_model": _language_model(facts),
        "parameters": main.num_parameters,
        "weight_bytes": facts.weight_bytes,
        "weight_dtypes": facts.weight_dtypes,
        "training": facts.training,
        "has": {name: (facts.folder / name).is_file() for name in ("recipe.yaml", "training.json", "inspection.json")},
        "year": str(main.date)[:4],
    }


def requirements() -> list[str]:
    """What to install to run the card's example: the packages, with the versions that this package asks for."""
    asked: dict[str, Requirement] = {}
    try:
        for line in importlib.metadata.requires(__name__.partition(".")[0]) or []:
            requirement = Requirement(line)
            asked.setdefault(requirement.name.replace("-", "_").lower(), requirement)
    except importlib.metadata.PackageNotFoundError:  # Run from a folder that was never installed.
        pass
    found = []
    for name in REQUIREMENTS:
        if name not in asked:
            found.append(name)
            continue
        # The upper bound of torch is torchaudio's, which a published model does without.
        bounds = [str(part) for part in asked[name].specifier if name != "torch" or part.operator == ">="]
        found.append(f'"{name}{",".join(sorted(bounds, reverse=True))}"' if bounds else name)
    return found


def percent(value: float) -> str:
    """A ratio in percent: one decimal, or as many as show that it is not perfect."""
    for decimals in range(1, 6):
        text = f"{100 * value:.{decimals}f}"
        if float(text) not in (0.0, 100.0) or 100 * value in (0.0, 100.0):
            break
    return text


def duration(seconds: float) -> str:
    """A length of time in the unit that suits it."""
    for size, unit in ((3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"


def file_size(count: float) -> str:
    """Bytes in the unit that suits them."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def number(value: object) -> str:
    """A value of a recipe: a number without idle zeros, a range as `0.9 to 1.1`, anything else as it is."""
    if isinstance(value, list | tuple):
        return " to ".join(number(entry) for entry in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def cell(value: object) -> str:
    """Text that does not break a Markdown table."""
    return " ".join(str(value).split()).replace("|", "\\|")


def metric_name(metric: str) -> tuple[str, str]:
    """The Hub's name of a metric, and what the card calls it."""
    known = metric_named(metric)
    return known.hub_name, known.title


def decoding(evaluation: Evaluation) -> str:
    """How the text of an evaluation was found."""
    if evaluation.decoder is None:
        return get_task(evaluation.task).decoding
    return f"beam search with {Path(str(evaluation.decoder.get('language_model', 'a language model'))).name}"


def _rows(evaluation: Evaluation) -> list[dict[str, str]]:
    """A row for each metric: its title, value and interval in percent. Micro F1 is accuracy under another name."""
    rows = []
    for metric, value in evaluation.metrics.items():
        if metric == "f1_micro" and value == evaluation.metrics.get("accuracy"):
            continue
        low, high = evaluation.confidence.get(metric, (None, None))
        known = metric_named(metric)
        in_unit, unit = (percent, "%") if known.unit == "%" else ("{:.3g}".format, known.unit)
        rows.append(
            {
                "metric": metric,
                "title": known.title,
                "value": f"{in_unit(value)} {unit}".rstrip(),
                "interval": "" if low is None else f"{in_unit(low)} to {in_unit(high)} {unit}".rstrip(),
            }
        )
    return rows


def _group_table(name: str, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The table by class or speaker: utterances, ratios that are no averages over classes, and an interval."""
    first = next(iter(rows.values()))
    ratios = [key for key, value in first.items() if isinstance(value, float) and not key.endswith(("macro", "micro"))]
    chosen = list(rows.items())
    if ratios:
        worse_first = not metric_named(ratios[0]).greater_is_better
        decisive = "f1" if "f1" in ratios else ratios[0]
        chosen.sort(key=lambda item: item[1][decisive], reverse=worse_first)
        chosen = chosen[:MOST_GROUPS]
        if len(rows) <= MOST_GROUPS:
            chosen = [item for item in rows.items() if item in chosen]
    intervals = all(ratios and ratios[0] in (columns.get("confidence") or {}) for columns in rows.values())
    head = ["utterances", *(key.upper() if len(key) <= 3 else key.replace("_", " ") for key in ratios)]
    lines = []
    for group, columns in chosen:
        line = [f"{columns.get('num_utterances', 0):,}", *(f"{percent(columns[key])} %" for key in ratios)]
        if intervals:
            low, high = columns["confidence"][ratios[0]]
            line.append(f"{percent(low)} to {percent(high)} %")
        lines.append((group, line))
    what = name.removeprefix("per_").replace("_", " ")
    return {
        "what": what,
        "head": head + ["95 % interval"] * intervals,
        "lines": lines,
        "left_out": len(rows) - len(chosen),
    }


def _splits(facts: RunFacts) -> list[dict[str, str]]:
    """Utterances and hours of each split that has any, as far as the files say."""
    inspected = facts.inspection.get("splits") or {}
    rows = [
        {"split": split, "utterances": f"{found['num_good']:,}", "hours": f"{found['hours']:.2f}"}
        for split, found in inspected.items()
        if found["num_good"]
    ]
    own = trained_on(facts).name
    for evaluation in facts.evaluations:
        if evaluation.corpus == own and evaluation.split not in {row["split"] for row in rows}:
            seconds = (evaluation.content.get("real_time_factor_conditions") or {}).get("audio_seconds")
            hours = "" if seconds is None else f"{seconds / 3600:.2f}"
            rows.append({"split": evaluation.split, "utterances": f"{evaluation.num_utterances:,}", "hours": hours})
    order = ["train", "validation", "test"]
    return sorted(rows, key=lambda row: order.index(row["split"]) if row["split"] in order else len(order))


def _labels(config: dict[str, Any]) -> list[str]:
    """The classes in the order of their ids."""
    return [name for _, name in sorted((config.get("id2label") or {}).items(), key=lambda item: int(item[0]))]


def _characters(facts: RunFacts) -> list[str]:
    """What a recognizer can write, without the tokens that are no characters."""
    return sorted(token for token in facts.vocabulary if len(token) == 1 and token != "|")


def _augmentation(options: dict[str, Any]) -> dict[str, Any]:
    """What of the augmentation is switched on, apart from its probability."""
    return {name: value for name, value in options.items() if name != "probability" and value not in (None, 0, False)}


def _language_model(facts: RunFacts) -> str | None:
    """The language model that an evaluation used, if it lies in the folder."""
    for evaluation in facts.evaluations:
        if evaluation.decoder:
            name = Path(str(evaluation.decoder.get("language_model", ""))).name
            if name and (facts.folder / name).is_file():
                return name
    return None


def _existing(folder: Path, name: str) -> str | None:
    return name if (folder / name).is_file() else None


FILTERS = {
    "percent": percent,
    "duration": duration,
    "file_size": file_size,
    "number": number,
    "cell": cell,
    "decoding": decoding,
    "shorten_paths": shorten_paths,
}

__all__ = [
    "FILTERS",
    "CorpusFacts",
    "card_context",
    "corpus_template",
    "measured_on",
    "metric_name",
    "requirements",
    "trained_on",
]
