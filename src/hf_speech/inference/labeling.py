"""Labels recordings with a model, and writes a table for the corpus `csv` without uncertain labels.

`TABLE.csv` (or `.parquet`) has the accepted labels, `TABLE.rejected.csv` the rejected ones with the reason, and
`TABLE.json` the settings. Runs can be resumed, and several processes share the recordings (`label_tables`). Unreadable
recordings are in neither table, so every run reports them.
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
"""Recordings per call of a teacher, and per Parquet shard."""


@dataclass(frozen=True)
class LabelFilter:
    """Criteria for labels to train on.

    Attributes:
        min_confidence: Lowest confidence, 0 to 1.
        min_seconds: Length of the shortest recording. Other lengths are not labeled.
        max_seconds: Length of the longest recording.
        max_disagreement: Highest word error rate between the transcripts of two teachers, ignoring case and
            punctuation. Classes have to be the same.
        min_rate: Fewest characters per second; fewer mean that the teacher skipped speech.
        max_rate: Most characters per second; 15 are usual in English.
        max_repeats: Most repetitions of up to four words in a row; more mean that the teacher is stuck in a loop.
        min_log_probability: Lowest mean log probability of a transcript. Whisper discards its own below -1.
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
        """Returns the reason for rejecting a label, or None to keep it."""
        if not label.answer:
            return "empty"
        if label.confidence < self.min_confidence:
            return f"confidence below {self.min_confidence:g}"
        lowest = self.min_log_probability
        if lowest is not None and label.log_probability is not None and label.log_probability < lowest:
            return f"log probability below {lowest:g}"
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
        """Returns the reason for rejecting a recording of this length without labeling it, or None."""
        if seconds < self.min_seconds:
            return f"shorter than {self.min_seconds:g} s"
        return f"longer than {self.max_seconds:g} s" if seconds > self.max_seconds else None


def count_repeats(words: Sequence[str], longest: int = 4) -> int:
    """Returns how often a sequence of up to `longest` words is repeated: 2 in "no no no" and in "a b a b a b"."""
    most = 0
    for size in range(1, longest + 1):
        run = 0
        for index in range(size, len(words)):
            run = run + 1 if words[index] == words[index - size] else 0
            most = max(most, run // size)
    return most


@dataclass(frozen=True)
class Processes:
    """The place of this process among the processes that share the recordings.

    Attributes:
        rank: Index of this process.
        count: Number of processes.
        on_first: Calls a function in the first process and returns the result in all of them.
        gather: Waits for all processes and concatenates their lists.
    """

    rank: int = 0
    count: int = 1
    on_first: Callable[[Callable[[], Any]], Any] = lambda function: function()
    gather: Callable[[list[str]], list[str]] = lambda entries: entries


@dataclass
class LabelCounts:
    """The outcome of labeling, including earlier runs with the same table.

    Attributes:
        kept: Number of accepted labels.
        rejected: Number of rejected labels.
        errors: A sentence about each unreadable recording.
    """

    kept: int
    rejected: int
    errors: list[str]


def find_recordings(sources: Iterable[str | Path]) -> list[Path]:
    """Returns the distinct sound files in a list of files and folders.

    Raises:
        AudioError: If there are none.
    """
    paths = sound_files(sources)
    if not paths:
        raise AudioError("There are no sound files to label: give sound files, or folders of sound files.")
    return list(dict.fromkeys(path.absolute() for path in paths))


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
    """Labels recordings, or continues a table of an earlier run.

    Args:
        teacher: The model whose labels are written.
        files: The recordings.
        table: The table `NAME.csv`, or the folder `NAME.parquet`. The columns are `path` (relative to the table's
            folder if the recording is below it), `text` or `label`, `confidence`, `log_probability` for text,
            `duration`, and `disagreement` with a second teacher.
        second: A teacher that has to agree.
        chosen: Criteria for keeping labels.
        normalizer: Normalization of the transcripts, as in recipes, to match the student's alphabet.
        spell_numbers: Whether to spell out numbers in English.
        progress: Whether to show a progress bar.
        processes: The place of this process, if several share the recordings.

    Raises:
        ModelError: If one teacher gives text and the other gives classes.
        HFSpeechError: If the table was not written by this command, or with other settings.
    """
    chosen = chosen or LabelFilter()
    if second is not None and second.column != teacher.column:
        raise ModelError(
            f"{teacher.name} gives a {teacher.column} and {second.name} a {second.column}: choose models of one task."
        )
    processes = processes or Processes()
    is_text = teacher.column == "text"
    columns = ["path", teacher.column, "confidence", *(["log_probability"] if is_text else []), "duration"]
    columns += [] if second is None else ["disagreement"]
    names = [_name(file, table) for file in files]
    rejected = table.with_suffix(f".rejected{table.suffix}")
    tables = {True: open_table(table, columns, names), False: open_table(rejected, [*columns, "reason"], names)}
    settings = {"teacher": teacher.name, "agree_with": None if second is None else second.name, **asdict(chosen)}
    normalizes = is_text and (normalizer != "none" or spell_numbers)
    settings |= {
        "normalizer": normalizer if normalizes else None,
        "spell_numbers": spell_numbers if normalizes else None,
    }

    def begin() -> dict[str, bool]:
        _check_settings(table, rejected, settings)
        return {name: kept for kept, output in tables.items() for name in output.collect()}

    done: dict[str, bool] = processes.on_first(begin)
    for output in tables.values():
        output.begin(processes.rank if processes.count > 1 else None)
    errors: list[str] = []
    pending = [file for file, name in zip(files, names, strict=True) if name not in done]
    size = max(1, min(WINDOW, -(-len(pending) // processes.count)))
    starts = range(0, len(pending), size)[processes.rank :: processes.count]
    windows = [pending[start : start + size] for start in starts]
    bar = progress_bar(
        total=sum(map(len, windows)), desc="Labeling", unit="recording", disable=not progress, leave=False
    )
    for window in windows:
        for file, label, disagreement, reason in _decide(teacher, second, window, chosen):
            bar.update()
            if label.error is not None:
                errors.append(label.error)
                continue
            if normalizes:
                label = replace(label, answer=normalize(label.answer, normalizer, spell_numbers=spell_numbers))
            row: Row = {"path": _name(file, table), teacher.column: label.answer, "confidence": label.confidence}
            row |= {"log_probability": label.log_probability, "duration": label.duration}
            row |= {"disagreement": disagreement, "reason": reason}
            _check_encoding(row["path"])
            tables[reason is None].add(row)
        for output in tables.values():
            output.flush()
    bar.close()
    errors = processes.gather(errors)
    done = processes.on_first(begin)
    return LabelCounts(sum(done.values()), len(done) - sum(done.values()), errors)


def _decide(
    teacher: Teacher, second: Teacher | None, files: Sequence[Path], chosen: LabelFilter
) -> Iterator[tuple[Path, Label, float | None, str | None]]:
    """Yields each recording with its label, the disagreement of a second teacher, and the reason for rejecting it."""
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
    """Returns the word error rate between two transcripts, or 1 if two classes differ and 0 if not."""
    if column == "label":
        return float(answer != other)
    first, second = (normalize(text, "english", spell_numbers=True) for text in (answer, other))
    return float(error_rates(count_errors([first], [second]).sum(axis=0))["wer"])


def _name(file: Path, table: Path) -> str:
    """Returns the path of a recording relative to the table's folder if it is below that folder, else absolute."""
    folder = table.absolute().parent
    return (file.relative_to(folder) if file.is_relative_to(folder) else file).as_posix()


def _check_settings(table: Path, rejected: Path, settings: dict[str, Any]) -> None:
    """Writes the settings of a new table, or raises HFSpeechError if an existing one has other settings."""
    record = table.with_suffix(".json")
    if not record.is_file():
        for path in (table, rejected):
            if path.exists():
                raise HFSpeechError(f"{path} already exists without its {record.name}: choose another --output.")
        write_json(record, settings)
        return
    try:
        earlier = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HFSpeechError(f"{record} cannot be read ({error}): choose another --output.") from error
    changed = [key for key, value in settings.items() if not isinstance(earlier, dict) or earlier.get(key) != value]
    if changed:
        raise HFSpeechError(
            f"{table} was started with another {changed[0]} (see {record.name}): choose another --output, or remove it."
        )


def _check_encoding(name: str) -> None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise AudioError(f"{printable(name)} has a name that is not UTF-8: rename it.") from error
