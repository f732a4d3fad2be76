"""Labels recordings into a table that the corpus `csv` reads as it is, and sorts out what is too uncertain.

`TABLE.csv` (or `.parquet`) has what is kept, `TABLE.rejected.csv` the rest with the reason, `TABLE.json` how both were
made. A run that was killed goes on where it stopped, and several processes share the recordings; how their rows are
kept is in `label_tables`. What cannot be read is in neither table: it is named again until it is repaired or left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hf_speech.common.files import write_json
from hf_speech.common.progress import progress_bar
from hf_speech.common.text import printable
from hf_speech.data.audio import audio_info
from hf_speech.data.corpora.files import sound_files
from hf_speech.errors import AudioError, HFSpeechError, ModelError
from hf_speech.inference.label_tables import Row, open_table
from hf_speech.inference.teachers import Label, Teacher
from hf_speech.tasks.metrics import count_errors, error_rates
from hf_speech.tasks.text import normalize

WINDOW = 64
"""Recordings that are given to a teacher at a time, and that are in a shard of Parquet."""


@dataclass(frozen=True)
class LabelFilter:
    """Which labels are good enough to learn from.

    Attributes:
        min_confidence: The smallest confidence, 0 to 1.
        min_seconds: Shortest recording.
        max_seconds: Longest recording; longer ones are not even labeled.
        max_disagreement: The largest word error rate between the transcripts of two teachers, in one case and without
            punctuation; classes have to be the same.
        min_rate: The smallest number of characters a second; a teacher that skips speech writes fewer.
        max_rate: The largest number of characters a second; in English, 15 are usual.
        max_repeats: How often up to four words may follow themselves; a teacher in a loop repeats them for ever.
        min_log_probability: The smallest mean log-probability of a transcript; Whisper itself gives up below -1.
    """

    min_confidence: float = 0.0
    min_seconds: float = 0.1
    max_seconds: float = 30.0
    max_disagreement: float = 0.0
    min_rate: float | None = None
    max_rate: float | None = None
    max_repeats: int | None = None
    min_log_probability: float | None = None

    def reason(self, label: Label, disagreement: float | None) -> str | None:
        """Why a label is rejected; None if it is kept."""
        if not label.answer:
            return "empty"
        if label.confidence < self.min_confidence:
            return f"confidence below {self.min_confidence:g}"
        least = self.min_log_probability
        if least is not None and label.log_probability is not None and label.log_probability < least:
            return f"log-probability below {least:g}"
        if disagreement is not None and disagreement > self.max_disagreement:
            return f"disagreement above {self.max_disagreement:g}"
        rate = len(label.answer) / max(label.duration, 1e-3)
        if self.min_rate is not None and rate < self.min_rate:
            return f"fewer than {self.min_rate:g} characters a second"
        if self.max_rate is not None and rate > self.max_rate:
            return f"more than {self.max_rate:g} characters a second"
        if self.max_repeats is not None and count_repeats(label.answer.split()) > self.max_repeats:
            return f"repeats words more than {self.max_repeats} times"
        return None

    def reason_by_length(self, seconds: float) -> str | None:
        """Why a recording of this length is rejected unseen; None if it is not."""
        if seconds < self.min_seconds:
            return f"shorter than {self.min_seconds:g} s"
        return f"longer than {self.max_seconds:g} s" if seconds > self.max_seconds else None


def count_repeats(words: Sequence[str], longest: int = 4) -> int:
    """The most times that one to `longest` words follow themselves: 2 in "no no no" and in "a b a b a b"."""
    most = 0
    for size in range(1, longest + 1):
        run = 0
        for index in range(size, len(words)):
            run = run + 1 if words[index] == words[index - size] else 0
            most = max(most, run // size)
    return most


@dataclass(frozen=True)
class Processes:
    """This process among those that label together.

    Attributes:
        rank: Its number.
        count: The number of all.
        on_first: Calls a function in the first one and gives its result to all.
        gather: Puts the lists of all together, once all are there.
    """

    rank: int = 0
    count: int = 1
    on_first: Callable[[Callable[[], Any]], Any] = lambda function: function()
    gather: Callable[[list[str]], list[str]] = lambda entries: entries


@dataclass
class LabelCounts:
    """What became of the recordings, those of earlier runs into the same table included.

    Attributes:
        kept: Rows of the table.
        rejected: Rows of the other table.
        errors: Why the others cannot be read, one sentence each.
    """

    kept: int
    rejected: int
    errors: list[str]


def find_recordings(sources: Iterable[str | Path]) -> list[Path]:
    """The sound files of a list of files and folders, each once.

    Raises:
        AudioError: If there are none.
    """
    found = sound_files(sources)
    if not found:
        raise AudioError("There are no sound files to label: give files, or folders that have some.")
    return list(dict.fromkeys(path.absolute() for path in found))


def label_recordings(
    teacher: Teacher,
    files: Sequence[Path],
    table: Path,
    *,
    second: Teacher | None = None,
    chosen: LabelFilter | None = None,
    normalizer: str = "none",
    spell_numbers: bool = False,
    progress: bool = True,
    processes: Processes | None = None,
) -> LabelCounts:
    """Labels recordings, and goes on with a table that was begun before.

    Args:
        teacher: Whose answers are written.
        files: The recordings.
        table: The table `NAME.csv`, or the folder `NAME.parquet`. Its columns are `path` (relative to its folder where
            it is below), `text` or `label`, `confidence`, for a text `log_probability`, `duration`, and with a second
            teacher `disagreement`.
        second: A teacher that has to agree.
        chosen: Which labels are kept.
        normalizer: How transcripts are written, as in recipes, so that a table is in the student's alphabet.
        spell_numbers: Whether to spell numbers in English words.
        progress: Whether to show a progress bar.
        processes: This process, if several share the recordings.

    Raises:
        ModelError: If one teacher gives text and the other one classes.
        HFSpeechError: If the table was made by other teachers or filters, or is no such table.
    """
    chosen = chosen or LabelFilter()
    if second is not None and second.column != teacher.column:
        raise ModelError(
            f"{teacher.name} gives a {teacher.column} and {second.name} a {second.column}: they never agree."
        )
    processes = processes or Processes()
    is_text = teacher.column == "text"
    columns = ["path", teacher.column, "confidence", *(["log_probability"] if is_text else []), "duration"]
    columns += [] if second is None else ["disagreement"]
    names = [_name(file, table) for file in files]
    rejected = table.with_suffix(f".rejected{table.suffix}")
    tables = {True: open_table(table, columns, names), False: open_table(rejected, [*columns, "reason"], names)}
    settings = {"teacher": teacher.name, "agree_with": None if second is None else second.name, **asdict(chosen)}
    written = is_text and (normalizer != "none" or spell_numbers)
    settings |= {"normalizer": normalizer if written else None, "spell_numbers": (spell_numbers if written else None)}

    def begin() -> dict[str, bool]:
        _begin(table, rejected, settings)
        return {name: kept for kept, own in tables.items() for name in own.collect()}

    done: dict[str, bool] = processes.on_first(begin)
    for own in tables.values():
        own.begin(processes.rank if processes.count > 1 else None)
    errors: list[str] = []
    left = [file for file, name in zip(files, names, strict=True) if name not in done]
    size = max(1, min(WINDOW, -(-len(left) // processes.count)))
    windows = [left[start : start + size] for start in range(0, len(left), size)][processes.rank :: processes.count]
    bar = progress_bar(
        total=sum(map(len, windows)), desc="Labeling", unit="recording", disable=not progress, leave=False
    )
    for window in windows:
        for file, label, disagreement, reason in _decide(teacher, second, window, chosen):
            bar.update()
            if label.error is not None:
                errors.append(label.error)
                continue
            if written:
                label = replace(label, answer=normalize(label.answer, normalizer, spell_numbers=spell_numbers))
            row: Row = {"path": _name(file, table), teacher.column: label.answer, "confidence": label.confidence}
            row |= {"log_probability": label.log_probability, "duration": label.duration}
            row |= {"disagreement": disagreement, "reason": reason}
            _check_encoding(row["path"])
            tables[reason is None].add(row)
        for own in tables.values():
            own.flush()
    bar.close()
    errors = processes.gather(errors)
    done = processes.on_first(begin)
    return LabelCounts(sum(done.values()), len(done) - sum(done.values()), errors)


def _decide(
    teacher: Teacher, second: Teacher | None, files: Sequence[Path], chosen: LabelFilter
) -> Iterator[tuple[Path, Label, float | None, str | None]]:
    """Each recording with its label, how far a second teacher disagrees, and why it is rejected."""
    usable = []
    for file in files:
        try:
            seconds = audio_info(file).duration
        except AudioError as error:
            yield file, Label("", 0.0, 0.0, str(error)), None, None
            continue
        if (reason := chosen.reason_by_length(seconds)) is not None:
            yield file, Label("", 0.0, seconds), None, reason
        else:
            usable.append(file)
    others: Iterable[Label | None] = [None] * len(usable) if second is None else second.label(usable)
    for file, label, other in zip(usable, teacher.label(usable), others, strict=True):
        disagreement = None
        if other is not None and label.error is None:
            disagreement = _disagreement(label.answer, other.answer, teacher.column)
        yield file, label, disagreement, chosen.reason(label, disagreement)


def _disagreement(answer: str, other: str, column: str) -> float:
    """The word error rate of one transcript against another one, or whether two classes differ."""
    if column == "label":
        return float(answer != other)
    one, two = (normalize(text, "english", spell_numbers=True) for text in (answer, other))
    return float(error_rates(count_errors([one], [two]).sum(axis=0))["wer"])


def _name(file: Path, table: Path) -> str:
    """A recording as the table names it: relative to the table's folder where it is below, or else absolute."""
    folder = table.absolute().parent
    return (file.relative_to(folder) if file.is_relative_to(folder) else file).as_posix()


def _begin(table: Path, rejected: Path, settings: dict[str, Any]) -> None:
    """Writes how a new table is made, or refuses to go on with one that was made otherwise."""
    record = table.with_suffix(".json")
    if not record.is_file():
        for path in (table, rejected):
            if path.exists():
                raise HFSpeechError(f"{path} is there already, and {record.name} is not: give another --output.")
        write_json(record, settings)
        return
    try:
        before = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HFSpeechError(f"{record} cannot be read ({error}): give another --output.") from error
    changed = [key for key, value in settings.items() if not isinstance(before, dict) or before.get(key) != value]
    if changed:
        raise HFSpeechError(
            f"{table} was begun with another {changed[0]} (see {record.name}): give another --output, or remove it."
        )


def _check_encoding(name: str) -> None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise AudioError(f"{printable(name)} has a name that is not UTF-8: rename it.") from error


__all__ = ["LabelCounts", "LabelFilter", "Processes", "find_recordings", "label_recordings"]
