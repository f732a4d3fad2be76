"""Reports of an inspection: problems counted by kind, with examples, as a summary, plain data or an error message."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, TypeVar

from hf_speech.common.tables import format_text
from hf_speech.common.text import counted, one_line, plural
from hf_speech.data.cache import cache_dir

MAX_EXAMPLES = 3
Content = TypeVar("Content")


@dataclass
class Finding:
    """The number of occurrences of a problem, with the first examples as sentences."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        """Counts an occurrence, and keeps it as an example if there are fewer than `MAX_EXAMPLES`."""
        self.count += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(one_line(example))


@dataclass
class SplitReport:
    """The inspection report of one split.

    Attributes:
        num_rows: Number of inspected rows.
        seconds: Total duration of the good rows.
        bad: Bad rows by kind: "missing", "unreadable", "empty", "truncated", "not finite", "too short", "too long",
            "without label", "without text", "of a class that train lacks", and further kinds for a task's targets.
        warnings: Valid but suspicious rows by kind: "silent", and further kinds for a task's targets.
        good_indices: Indices of the good rows, ascending.
        durations: Duration of every row in seconds, NaN for rows that could not be decoded.
        digests: Digest of the samples of every row, None for rows that were not decoded.
        corpora: The corpus of every row of a mixture; empty for a single corpus.
        folders: The folders two levels above recordings with absolute paths.
    """

    num_rows: int
    seconds: float = 0.0
    bad: dict[str, Finding] = field(default_factory=lambda: defaultdict(Finding))
    warnings: dict[str, Finding] = field(default_factory=lambda: defaultdict(Finding))
    good_indices: list[int] = field(default_factory=list)
    durations: list[float] = field(default_factory=list, repr=False)
    digests: list[bytes | None] = field(default_factory=list, repr=False)
    corpora: list[str] = field(default_factory=list, repr=False)
    folders: set[str] = field(default_factory=set, repr=False)

    @property
    def num_bad(self) -> int:
        """The number of bad rows."""
        return sum(finding.count for finding in self.bad.values())

    def reject(self, kind: str, reasons: dict[int, str], list_all: bool = False) -> None:
        """Moves rows from the good to the bad ones.

        Args:
            kind: The kind of problem.
            reasons: A sentence for each row, by index.
            list_all: Whether to keep all sentences as examples.
        """
        for reason in reasons.values():
            self.bad[kind].add(reason)
        if list_all and reasons:
            self.bad[kind].examples = list(reasons.values())
        self.good_indices = [index for index in self.good_indices if index not in reasons]
        self.seconds -= sum(self.durations[index] for index in reasons)

    def by_corpus(self) -> dict[str, dict[str, Any]]:
        """Returns the number of rows, the number of good rows and their hours for each corpus of a mixture."""
        counts = {name: {"num_rows": 0, "num_good": 0, "hours": 0.0} for name in self.corpora}
        for name in self.corpora:
            counts[name]["num_rows"] += 1
        for index in self.good_indices if self.corpora else ():
            counts[self.corpora[index]]["num_good"] += 1
            counts[self.corpora[index]]["hours"] += self.durations[index] / 3600
        return {name: count | {"hours": round(count["hours"], 4)} for name, count in counts.items()}

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as JSON-serializable data."""
        return {
            "num_rows": self.num_rows,
            "num_good": len(self.good_indices),
            "hours": round(self.seconds / 3600, 4),
            "bad": {kind: vars(finding) for kind, finding in self.bad.items()},
            "warnings": {kind: vars(finding) for kind, finding in self.warnings.items()},
        }


@dataclass
class InspectionReport:
    """The inspection report of a corpus; `str(report)` is a summary of a few lines.

    Attributes:
        corpus: Name of the corpus.
        splits: The report of each split.
        warnings: Warnings about the corpus as a whole, one sentence each.
        caveats: Limitations of metrics on the corpus, one sentence each.
        shares: Each corpus's share of an epoch in a mixture with weights, else None.
        folders: The folders of the corpus, which `to_dict` removes from paths.
    """

    corpus: str
    splits: dict[str, SplitReport]
    warnings: list[str] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)
    shares: dict[str, float] | None = None
    folders: set[str] = field(default_factory=set, repr=False)

    @property
    def num_bad(self) -> int:
        """The number of bad rows in all splits."""
        return sum(report.num_bad for report in self.splits.values())

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as JSON-serializable data, with relative paths so that it can be published."""
        content: dict[str, Any] = {
            "corpus": self.corpus,
            "splits": {name: report.to_dict() for name, report in self.splits.items()},
            "warnings": self.warnings,
            "caveats": self.caveats,
        }
        if by_corpus := self.by_corpus():
            content["corpora"] = by_corpus
            content["shares"] = self.shares
        others = set[str]().union(*(found.folders for found in self.splits.values()))
        return without_folders(content, [*_longest_first(self.folders), *_longest_first(others)])

    def by_corpus(self) -> dict[str, dict[str, Any]]:
        """Returns the counts of a mixture as `{corpus: {split: {"num_rows", "num_good", "hours"}}}`."""
        counts: dict[str, dict[str, Any]] = {}
        for split, report in self.splits.items():
            for corpus, count in report.by_corpus().items():
                counts.setdefault(corpus, {})[split] = count
        return counts

    def refusal(self) -> str:
        """Returns an error message with the counts of all kinds, the first example and the remedy."""
        total: dict[str, Finding] = defaultdict(Finding)
        for found in self.splits.values():
            for kind, finding in found.bad.items():
                total[kind].count += finding.count
                total[kind].examples += finding.examples
        kinds = ", ".join(f"{finding.count:,} {kind}" for kind, finding in total.items())
        example = next(iter(total.values())).examples[0].rstrip(".")
        rows = sum(found.num_rows for found in self.splits.values())
        return (
            f"{self.num_bad:,} of the {rows:,} utterances of the corpus {self.corpus!r} "
            f"{plural(self.num_bad, 'is', 'are')} bad ({kinds}), such as: {example}; correct such utterances, or leave "
            "them out with bad_rows: skip."
        )

    def __str__(self) -> str:
        rows = sum(report.num_rows for report in self.splits.values())
        lines = [f"Corpus {self.corpus}: {counted(rows, 'utterance')} inspected, {self.num_bad:,} of them bad."]
        for name, report in self.splits.items():
            good = len(report.good_indices)
            lines.append(f"  {name:<11}{good:>8,} good {plural(good, 'utterance')}, {_length(report.seconds)}")
            for kind, finding in report.bad.items():
                lines.append(f"    {finding.count:,} {kind}, such as: {finding.examples[0]}")
            for kind, finding in report.warnings.items():
                lines.append(f"    warning: {finding.count:,} {kind}, such as: {finding.examples[0]}")
        if by_corpus := self.by_corpus():
            lines += [f"  {line}" for line in self._corpora_table(by_corpus).splitlines()]
        lines += [f"  note: {caveat}" for caveat in self.caveats]
        return "\n".join(lines + [f"  warning: {warning}" for warning in self.warnings])

    def _corpora_table(self, by_corpus: dict[str, dict[str, Any]]) -> str:
        """Formats a table of the corpora: good utterances per split, hours, bad rows and share of an epoch."""
        trained_on = {name: splits.get("train", {}).get("num_good", 0) for name, splits in by_corpus.items()}
        total = max(sum(trained_on.values()), 1)
        shares = self.shares or {name: count / total for name, count in trained_on.items()}
        rows = []
        for name, splits in by_corpus.items():
            counts = list(splits.values())
            rows.append(
                [
                    name,
                    *(f"{splits.get(split, {}).get('num_good', 0):,}" for split in self.splits),
                    f"{sum(count['hours'] for count in counts):.2f}",
                    f"{sum(count['num_rows'] - count['num_good'] for count in counts):,}",
                    f"{shares.get(name, 0):.1%}",
                ]
            )
        return format_text(["corpus", *self.splits, "hours", "bad", "share of an epoch"], rows)


def _longest_first(names: Iterable[str]) -> list[str]:
    return sorted(names, key=len, reverse=True)


def without_folders(content: Content, folders: Iterable[str]) -> Content:
    """Makes the paths in plain data relative, so that it can be published.

    Args:
        content: Mappings, lists and strings.
        folders: The folders to remove from paths, in order of precedence. The cache folder is appended.
    """
    removable = [name for name in [*folders, str(cache_dir())] if len(PurePath(name).parts) > 1]
    names = "|".join(re.escape(one_line(name)) for name in removable)
    prefix = re.compile(rf"(?<![\w./\\~-])({names})([/\\]|(?![\w.-]))")

    def shorten(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shorten(item) for key, item in value.items()}
        if isinstance(value, list):
            return [shorten(item) for item in value]
        if not isinstance(value, str):
            return value
        return prefix.sub(lambda match: "" if match[2] else PurePath(match[1]).name, value)

    shortened: Content = shorten(content)
    return shortened


def _length(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds >= 360 else f"{seconds:.1f} s"
