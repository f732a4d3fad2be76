"""Checks that the evaluation files support the numbers that a text claims.

A claim is a percentage, a speed ("318 times real time", a real-time factor), or a number next to the name of a metric.
It must equal a value in the files, rounded to the same digits. The file, split, metric, class or speaker named in the
line, the head of its table or the heading above it limit which values count. The bounds of a confidence interval
support only an interval ("98.1 to 99.9%"). A score that rounds to 100% does not support a perfect score.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hf_speech.publishing.card.facts import Evaluation

# Does not match the 4 of "conv-4", "v4" or "1/4".
_NUMBER = r"(?<![\w.,/])(?<![A-Za-z_]-)\d[\d,]*(?:\.\d+)?(?!\w|[.,]\d|/\d)"
_PERCENT = re.compile(r"(?<![\d.])(\d[\d,]*(?:\.\d+)?)\s*\**\s*(?:%|per ?cent\b|percentage points?\b)")
_SPEED = re.compile(
    r"(?<![\w.])(\d[\d,]*(?:\.\d+)?)\s*\**\s*(?:times|\u00d7|x)\s+(?:as\s+)?(?:faster|slower|fast|real[- ]time)|"
    rf"real[- ]time factor[^\d\n]{{0,40}}({_NUMBER})|\bRTFx?\b[^\d\n]{{0,20}}({_NUMBER})",
    re.IGNORECASE,
)
_INTERVAL = re.compile(
    r"(?<![\w.])(\d[\d,]*(?:\.\d+)?)\s*%?\s*(?:to|-|\u2013|\u2014|\u2026)\s*(\d[\d,]*(?:\.\d+)?)(?![\w.]\d)|"
    r"\bbetween\s+(\d[\d,]*(?:\.\d+)?)\s*%?\s+and\s+(\d[\d,]*(?:\.\d+)?)"
)
_METRIC_WORDS = {
    "accuracy": r"accura",
    "f1": r"f1\b|f-?score",
    "precision": r"precision\b",
    "recall": r"recall\b",
    "wer": r"wer\b|word error",
    "cer": r"cer\b|character error",
}
_INTERVAL_WORDS = re.compile(r"\bintervals?\b|\bconfidence\b|\bCI\b")
_ANY_METRIC = "|".join(rf"\b(?:{words})" for words in _METRIC_WORDS.values())
# Matches "accuracy on the test split: 99.7", but not "accuracy with torch 2.14".
_NAMED = re.compile(
    rf"(?:{_ANY_METRIC})[^\d.;!?|]{{0,40}}?(?:\b(?:of|is|was|at|to|by)\b|[:=(*~\u2248])\s*\**({_NUMBER})", re.IGNORECASE
)
_ANY_NUMBER = re.compile(rf"({_NUMBER})")
_SPLIT = re.compile(r"\b(test|validation|train)\b", re.IGNORECASE)
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class MeasuredValue:
    """One number of an evaluation file.

    Attributes:
        value: The value in the file: a ratio between 0 and 1 (error rates may exceed 1), or a speed.
        file: The file, such as `evaluation/test.json`.
        split: The split.
        metric: The metric, "speed" for real-time factors.
        group: The class or speaker, or None for the whole split.
        other_bound: For a bound of a confidence interval, the other bound; None for a metric itself.
    """

    value: float
    file: str
    split: str
    metric: str
    group: str | None = None
    other_bound: float | None = None


@dataclass(frozen=True)
class Claim:
    """A number that a text claims.

    Attributes:
        number: The number as written.
        percent: Whether it is a percentage.
        speed: Whether it is a speed.
        other_bound: For a bound of an interval ("98.1 to 99.9%"), the other bound as written.
    """

    number: str
    percent: bool = False
    speed: bool = False
    other_bound: str | None = None


def measured_values(evaluations: Iterable[Evaluation]) -> list[MeasuredValue]:
    """Returns all values of evaluation files: metrics and intervals, also of classes and speakers, and speeds."""
    found: list[MeasuredValue] = []
    for evaluation in evaluations:
        origin = (evaluation.file, str(evaluation.split))
        found += _with_intervals(origin, evaluation.metrics, evaluation.confidence, None)
        for rows in evaluation.breakdowns.values():
            for group, columns in rows.items():
                ratios = {name: value for name, value in columns.items() if isinstance(value, float)}
                found += _with_intervals(origin, ratios, columns.get("confidence") or {}, group)
        factor = evaluation.content.get("real_time_factor")
        if factor:
            found += [MeasuredValue(factor, *origin, "speed"), MeasuredValue(1 / factor, *origin, "speed")]
    return found


def claims_of(line: str, *, in_table_of_metrics: bool = False) -> list[Claim]:
    """Returns the numbers that a line claims as results.

    Args:
        line: A line of Markdown without link targets.
        in_table_of_metrics: Whether the line is a row of a table whose head names metrics.
    """
    intervals = [(match.span(), *filter(None, match.groups())) for match in _INTERVAL.finditer(line)]
    claims: list[Claim] = []

    def add(number: str, position: int, *, percent: bool = False) -> None:
        for (start, stop), low, high in intervals:
            if start <= position < stop:
                claims.extend((Claim(low, percent, other_bound=high), Claim(high, percent, other_bound=low)))
                return
        claims.append(Claim(number, percent))

    for match in _PERCENT.finditer(line):
        add(match.group(1), match.start(1), percent=True)
    for match in _SPEED.finditer(line):
        claims.append(Claim(next(filter(None, match.groups())), speed=True))
    taken = {found.number for found in claims}
    decimals = [match for match in _ANY_NUMBER.finditer(line) if "." in match.group(1)]
    named = list(_NAMED.finditer(line))
    if in_table_of_metrics:
        named += decimals
    elif re.search(_ANY_METRIC, line, re.IGNORECASE):
        named += [match for match in decimals if 0 <= _float(match.group(1)) <= 1]
    for match in named:
        if match.group(1) not in taken:
            add(match.group(1), match.start(1))
    return list(dict.fromkeys(claims))


def is_backed(
    claim: Claim, line: str, context: str, values: Iterable[MeasuredValue], levels: Iterable[str] = ()
) -> bool:
    """Returns whether an evaluation file supports a claim.

    Args:
        claim: The claim.
        line: The line that contains it.
        context: The head of its table and the heading above it.
        values: All values of the files.
        levels: Confidence levels in percent ("95") that a line about intervals may name.
    """
    if claim.percent and claim.number in levels and _INTERVAL_WORDS.search(f"{line} {context}"):
        return True
    scales = (1.0,) if claim.speed else (100.0,) if claim.percent else (1.0, 100.0)
    for known in _relevant(values, claim, line, context):
        if (known.other_bound is None) != (claim.other_bound is None):
            continue
        for scale in scales:
            if _agrees(claim.number, known.value, scale) and (
                known.other_bound is None or _agrees(str(claim.other_bound), known.other_bound, scale)
            ):
                return True
    return False


def _with_intervals(
    origin: tuple[str, str], values: dict[str, float], intervals: dict[str, list[float]], group: str | None
) -> Iterator[MeasuredValue]:
    for metric, value in values.items():
        yield MeasuredValue(float(value), *origin, metric, group)
    for metric, (low, high) in intervals.items():
        yield MeasuredValue(float(low), *origin, metric, group, other_bound=float(high))
        yield MeasuredValue(float(high), *origin, metric, group, other_bound=float(low))


def _relevant(values: Iterable[MeasuredValue], claim: Claim, line: str, context: str) -> Iterator[MeasuredValue]:
    """Yields the values that a claim may refer to, given the names in its line and context."""
    values = list(values)
    row = _first_cell(line)
    row_group = row if row is not None and any(known.group == row for known in values) else None
    files = {known.file for known in values if known.file in line}
    splits = {split.lower() for split in _SPLIT.findall(line)} or {split.lower() for split in _SPLIT.findall(context)}
    metrics = _metrics_in(line) or _metrics_in(context)
    for known in values:
        if (known.metric == "speed") != claim.speed:
            continue
        if files and known.file not in files:
            continue
        if not files and splits and known.split not in splits:
            continue
        if metrics and not claim.speed and known.metric.partition("_")[0] not in metrics:
            continue
        if row_group is not None and known.group != row_group and not claim.speed:
            continue
        if known.group is not None and not re.search(rf"(?<!\w){re.escape(known.group)}(?!\w)", line):
            continue
        yield known


def _first_cell(line: str) -> str | None:
    """Returns the first cell of a table's row, without its formatting."""
    return line.strip().strip("|").split("|")[0].strip(" *`") if line.lstrip().startswith("|") else None


def _metrics_in(text: str) -> set[str]:
    return {metric for metric, words in _METRIC_WORDS.items() if re.search(rf"\b(?:{words})", text, re.IGNORECASE)}


def _float(number: str) -> float:
    return float(number.replace(",", ""))


def _agrees(written: str, value: float, scale: float) -> bool:
    """Returns whether a written number equals `value * scale`, rounded to the same digits."""
    number, exact = _float(written), value * scale
    if number in (0.0, scale) and abs(number - exact) > _TOLERANCE:
        return False  # A perfect score must be exact.
    decimals = len(written.partition(".")[2])
    return abs(number - exact) <= 0.5 * 10**-decimals + _TOLERANCE * max(1.0, abs(exact))
