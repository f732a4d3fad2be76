"""Formats the facts of a run folder for the templates of the card.

Metrics are percentages with one decimal, or more if one decimal would show a perfect score. Values are only rounded,
not computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_speech.common.files import file_size
from hf_speech.publishing.card.commands import evaluation_command, homepage, install_command, requirements
from hf_speech.publishing.card.corpora import measured_on, trained_on
from hf_speech.publishing.card.facts import Evaluation, RunFacts
from hf_speech.tasks import get_task, metric_named

# Descriptions of the recipe's options; `{}` is the value.
AUGMENTATIONS = {
    "joining": "{} of the utterances joined with another one of the same speaker",
    "speed": "speed {} times",
    "pitch": "pitch shifted by {} semitones",
    "tempo": "tempo {} times",
    "silence": "{} s of silence before and after (negative: cut)",
    "rooms": "recorded room impulse responses",
    "reverberation": "simulated rooms with a reverberation time of {} s",
    "equalizer": "a random equalizer of up to {} dB",
    "noise_snr": "noise at a signal-to-noise ratio of {} dB",
    "noise_folder": "noise from recordings",
    "gain": "a gain of {} dB",
    "telephone": "{} of the utterances as over a telephone line",
    "opus": "Opus at {} kbit/s",
    "tempo_copies": "copies at {} times the tempo",
    "pitch_copies": "copies shifted by {} semitones",
    "variants": "{} variants of each utterance in turn",
}
REGULARIZERS = {
    "dropout": "dropout {}",
    "input_dropout": "dropout {} on the features",
    "feature_noise": "noise of standard deviation {} on the features",
    "label_smoothing": "label smoothing {}",
    "mixup_alpha": "mixup with alpha {}",
    "consistency_weight": "consistency regularization with weight {}",
    "num_time_masks": "{} time masks",
    "num_frequency_masks": "{} frequency masks",
    "frequency_warp": "frequency warping by up to {}",
    "intermediate_ctc_weight": "an intermediate CTC loss with weight {}",
}
NORMALIZATIONS = {
    "none": "none",
    "peak": "by the peak of the waveform",
    "utterance": "to mean 0 and variance 1 over the utterance",
    "global": "by the mean and variance of the training data",
}
MAX_GROUPS = 20


def card_context(facts: RunFacts, repo_id: str, revision: str | None) -> dict[str, Any]:
    """Returns the variables of the templates, except for license, templates and hand-written sections."""
    main, splits = facts.main, _splits(facts)
    labels = sorted((facts.config.get("id2label") or {}).items(), key=lambda item: int(item[0]))

    def existing(name: str) -> str | None:
        return name if (facts.folder / name).is_file() else None

    results: list[dict[str, Any]] = [
        {
            "file": entry.file,
            "table": existing(f"{Path(entry.file).with_suffix('.csv')}"),
            "evaluation": entry,
            "corpus": measured_on(facts, entry),
            "rows": _rows(entry),
            "command": evaluation_command(facts, entry, repo_id, revision),
        }
        for entry in facts.evaluations
    ]
    return {
        "repo_id": repo_id,
        "name": repo_id.rpartition("/")[2],
        "revision": revision,
        "requirements": requirements(),
        "install_command": install_command(),
        "homepage": homepage(),
        "config": facts.config,
        "extractor": facts.extractor,
        "normalization": NORMALIZATIONS.get(str(facts.extractor.get("normalization"))),
        "labels": [str(name) for _, name in labels],
        "characters": sorted(token for token in facts.vocabulary if len(token) == 1 and token != "|"),
        "corpus": trained_on(facts),
        "splits": splits,
        "split_names": [row["split"] for row in splits],
        "recipe": facts.recipe,
        "base": facts.base_model,
        "options": facts.recipe.get("training") or {},
        "teacher": _teacher(facts.recipe.get("training") or {}),
        "augmentation": _in_words(facts.recipe.get("augmentation") or {}, AUGMENTATIONS),
        "augmentation_probability": (facts.recipe.get("augmentation") or {}).get("probability"),
        "regularization": _in_words(facts.recipe.get("model") or {}, REGULARIZERS),
        "task": get_task(facts.task),
        "main": main,
        "main_corpus": measured_on(facts, main),
        "results": results,
        "headlines": [result for result in results if result["evaluation"].split == main.split],
        "groups": [_group_table(name, rows) for name, rows in main.breakdowns.items() if rows],
        "confusions": existing(f"{Path(main.file).with_suffix('')}-confusions.png"),
        "curves": existing("curves.png"),
        "validated": any("eval_loss" in entry for entry in facts.training.get("log", ())),
        "language_model": _language_model(facts),
        "parameters": main.num_parameters,
        "weight_bytes": facts.weight_bytes,
        "weight_dtypes": facts.weight_dtypes,
        "training": facts.training,
        "has": {name: (facts.folder / name).is_file() for name in ("recipe.yaml", "training.json", "inspection.json")},
        "year": str(main.date)[:4],
    }


def percent(value: float) -> str:
    """Formats a ratio in percent, with one decimal, or more if one decimal would show a perfect score."""
    for decimals in range(1, 6):
        text = f"{100 * value:.{decimals}f}"
        if float(text) not in (0.0, 100.0) or 100 * value in (0.0, 100.0):
            break
    return text


def duration(seconds: float) -> str:
    """Formats a duration in hours, minutes or seconds."""
    for size, unit in ((3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"


def number(value: object) -> str:
    """Formats a value of a recipe: a number without trailing zeros, a range as `0.9 to 1.1`."""
    if isinstance(value, list | tuple):
        joint = " to " if len(value) == 2 else ", "
        return joint.join(number(entry) for entry in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def decoding(evaluation: Evaluation) -> str:
    """Describes the decoding and the simulated conditions of an evaluation."""
    method = str(get_task(evaluation.task).decoding)
    if evaluation.decoder is not None:
        method = f"beam search with {Path(str(evaluation.decoder.get('language_model', 'a language model'))).name}"
    return ", ".join(part for part in (method, *simulated(evaluation)) if part)


def simulated(evaluation: Evaluation) -> list[str]:
    """Describes the recording conditions that an evaluation simulates."""
    room, noise, telephone = map(evaluation.content.get, ("reverberation", "noise", "telephone"))
    return [
        *([f"in a room with a reverberation time of {room:g} s"] if room else []),
        *([f"with noise at {noise['snr']:g} dB"] if noise else []),
        *(["over a telephone line"] if telephone else []),
    ]


def _rows(evaluation: Evaluation) -> list[dict[str, str]]:
    """Returns a row for each metric: its title, value and interval. Micro F1 is left out if it equals accuracy."""
    rows = []
    for metric, value in evaluation.metrics.items():
        if metric == "f1_micro" and value == evaluation.metrics.get("accuracy"):
            continue
        low, high = evaluation.confidence.get(metric, (None, None))
        known = metric_named(metric)
        in_unit, unit = (percent, "%") if known.unit == "%" else ("{:.3g}".format, f" {known.unit}")
        rows.append(
            {
                "metric": metric,
                "title": known.title,
                "value": f"{in_unit(value)}{unit}".rstrip(),
                "interval": "" if low is None else f"{in_unit(low)} to {in_unit(high)}{unit}".rstrip(),
            }
        )
    return rows


def _group_table(name: str, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns a table by class or speaker: utterances, ratios other than averages over classes, and an interval."""
    first = next(iter(rows.values()))
    ratios = [key for key, value in first.items() if isinstance(value, float) and not key.endswith(("macro", "micro"))]
    chosen = list(rows.items())
    if ratios:
        high_is_worse = not metric_named(ratios[0]).greater_is_better
        sort_key = "f1" if "f1" in ratios else ratios[0]
        chosen.sort(key=lambda item: item[1][sort_key], reverse=high_is_worse)
        chosen = chosen[:MAX_GROUPS]
        if len(rows) <= MAX_GROUPS:
            chosen = [item for item in rows.items() if item in chosen]
    intervals = all(ratios and ratios[0] in (columns.get("confidence") or {}) for columns in rows.values())
    head = ["utterances", *(key.upper() if len(key) <= 3 else key.replace("_", " ") for key in ratios)]
    lines = []
    for group, columns in chosen:
        line = [f"{columns.get('num_utterances', 0):,}", *(f"{percent(columns[key])}%" for key in ratios)]
        if intervals:
            low, high = columns["confidence"][ratios[0]]
            line.append(f"{percent(low)} to {percent(high)}%")
        lines.append((group, line))
    return {
        "what": name.removeprefix("per_").replace("_", " "),
        "head": head + ["95% interval"] * intervals,
        "lines": lines,
        "left_out": len(rows) - len(chosen),
    }


def _splits(facts: RunFacts) -> list[dict[str, str]]:
    """Returns the number of utterances and the duration, if known, of each split that is not empty."""
    inspected = facts.inspection.get("splits") or {}
    rows = [
        {"split": split, "utterances": f"{found['num_good']:,}", "length": duration(3600 * found["hours"])}
        for split, found in inspected.items()
        if found["num_good"]
    ]
    own = trained_on(facts).name
    for evaluation in facts.evaluations:
        if evaluation.corpus == own and evaluation.split not in {row["split"] for row in rows}:
            seconds = (evaluation.content.get("real_time_factor_conditions") or {}).get("audio_seconds")
            length = "" if seconds is None else duration(seconds)
            rows.append({"split": evaluation.split, "utterances": f"{evaluation.num_utterances:,}", "length": length})
    order = ["train", "validation", "test"]
    return sorted(rows, key=lambda row: order.index(row["split"]) if row["split"] in order else len(order))


def _in_words(options: dict[str, Any], words: dict[str, str]) -> list[str]:
    """Describes the options that are switched on and have a description."""
    return [
        phrase.format(number(options[name])) for name, phrase in words.items() if options.get(name) not in (None, 0, [])
    ]


def _teacher(options: Mapping[str, Any]) -> str | None:
    """Describes the teacher model of a training, if any; a folder is shown by its name only."""
    teacher = options.get("teacher")
    values = teacher if isinstance(teacher, Mapping) else {"model": teacher, "weight": options.get("teacher_weight")}
    if not isinstance(name := values.get("model"), str):
        return None
    target = "the probabilities" if values is not teacher else "the states of the encoder"
    name = Path(name).name if Path(name).is_absolute() or Path(name).exists() else name
    return f"{target} of {name} (weight {values.get('weight')})"


def _language_model(facts: RunFacts) -> str | None:
    """Returns the file of the language model of an evaluation, if it is in the folder."""
    for evaluation in facts.evaluations:
        if evaluation.decoder:
            name = Path(str(evaluation.decoder.get("language_model", ""))).name
            if name and (facts.folder / name).is_file():
                return name
    return None


def front_end(config: Mapping[str, Any]) -> str:
    """Describes the front end in a model's configuration as the subject of a sentence; "" if there is none."""
    from transformers import AutoConfig

    from hf_speech.models.frontends import FRONT_ENDS

    fields = {key: value for key, value in config.items() if key not in ("model_type", "auto_map")}
    model_config = AutoConfig.for_model(str(config["model_type"]), **fields)
    name = model_config.frontend_name
    phrase = "" if name is None else FRONT_ENDS[name].sentence(model_config)
    return phrase[:1].upper() + phrase[1:]


FILTERS = {
    "front_end": front_end,
    "percent": percent,
    "duration": duration,
    "file_size": file_size,
    "number": number,
    "decoding": decoding,
}
