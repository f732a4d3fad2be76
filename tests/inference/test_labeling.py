"""Labeling recordings with teachers of this package and of transformers."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import soundfile

from hf_speech.cli.app import main
from hf_speech.data import make_corpus
from hf_speech.errors import HFSpeechError, ModelError
from hf_speech.inference import labeling
from hf_speech.inference.labeling import LabelFilter, Processes, count_repeats, find_recordings, label_recordings
from hf_speech.inference.teachers import Label, open_teacher


def rows_of(table: Path) -> list[dict[str, str]]:
    if table.suffix == ".parquet":
        return [
            row for shard in sorted(table.glob("*.parquet")) for row in pyarrow.parquet.read_table(shard).to_pylist()
        ]
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Fake:
    """A teacher that derives labels from file names and records its calls."""

    def __init__(self, answers: dict[str, tuple[str, float]], column: str = "text", name: str = "fake") -> None:
        self.answers, self.column, self.name = answers, column, name
        self.asked: list[str] = []

    def label(self, files: Sequence[Path]) -> Iterator[Label]:
        for file in files:
            self.asked.append(file.name)
            yield Label(*self.answers[file.name], 1.0)


ANSWERS = {"0.wav": ("Hello, there", 0.9), "1.wav": ("two words", 0.4), "2.wav": ("", 0.99), "3.wav": ("yes", 0.8)}


def test_a_recognizer_writes_a_table_for_the_corpus_csv(
    beeps_run: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.csv"
    with pytest.raises(SystemExit) as ended:
        main(["label", str(beeps_run), str(recordings), "--output", str(table)])
    assert ended.value.code == 0
    assert "4 recordings, 0 rejected" in capsys.readouterr().out
    rows = rows_of(table)
    assert {Path(row["path"]).parent.name: row["text"] for row in rows} == {t: t for t in ("ab", "ca", "bcb", "aa")}
    assert all(0.2 < float(row["confidence"]) <= 1 for row in rows)
    splits = make_corpus("csv", train_file=str(table), text_column="text", validation_fraction=0.25).load()
    assert sorted(text for rows in splits.values() for text in rows["text"]) == ["aa", "ab", "bcb", "ca"]


def test_a_classifier_writes_classes(tones_run: Path, digit_folder: Path) -> None:
    files = find_recordings([digit_folder])
    table = digit_folder / "table.csv"
    counts = label_recordings(open_teacher(str(tones_run)), files, table, chosen=LabelFilter(0.5), progress=False)
    assert counts.kept + counts.rejected == 60
    rows = rows_of(table)
    assert all(row["label"] == row["path"].partition("/")[0] for row in rows), "relative to the table's folder"
    corpus = make_corpus("csv", train_file=str(table))
    assert corpus.load()["train"].features["label"].names == ["high", "low"]


@pytest.mark.parametrize(
    ("record", "caveat"),
    [
        (
            '{"teacher": "openai/whisper-base"}',
            "t.csv contains labels of the model openai/whisper-base, not of humans.",
        ),
        ('{"teacher": 3}', None),
        ("[]", None),
        ("{", None),
        (None, None),
    ],
)
def test_training_records_the_teacher_of_a_table(tmp_path: Path, record: str | None, caveat: str | None) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(8000, 0.1), 8000)
    (tmp_path / "t.csv").write_text("path,text\na.wav,yes\n", encoding="utf-8")
    if record is not None:
        (tmp_path / "t.json").write_text(record, encoding="utf-8")
    options: Any = {"train_file": str(tmp_path / "t.csv"), "text_column": "text"}
    corpus = make_corpus("csv", validation_fraction=0, test_fraction=0, **options)
    corpus.load()
    assert [found for found in corpus.caveats if "not of humans" in found] == ([caveat] if caveat else [])


def test_filters_by_confidence_duration_and_agreement(recordings: Path, tmp_path: Path) -> None:
    files = find_recordings([recordings])
    soundfile.write(tmp_path / "long.wav", np.full(16_000, 0.1), 8000)
    second = Fake({"0.wav": ("HELLO THERE!", 1.0), "1.wav": ("two", 1.0), "2.wav": ("x", 1.0), "3.wav": ("no", 1.0)})
    table = tmp_path / "table.csv"
    first = Fake(ANSWERS)
    chosen = LabelFilter(min_confidence=0.5, max_seconds=1.5)
    counts = label_recordings(
        first, [*files, tmp_path / "long.wav"], table, second=second, chosen=chosen, progress=False
    )
    assert (counts.kept, counts.rejected, counts.errors) == (1, 4, [])
    assert "long.wav" not in first.asked
    assert rows_of(table)[0]["text"] == "Hello, there"
    reasons = {Path(row["path"]).name: row["reason"] for row in rows_of(tmp_path / "table.rejected.csv")}
    assert reasons == {
        "1.wav": "confidence below 0.5",
        "2.wav": "empty",
        "3.wav": "disagreement above 0",
        "long.wav": "longer than 1.5 s",
    }
    generous = LabelFilter(max_disagreement=0.5)
    again = label_recordings(
        Fake(ANSWERS), files, tmp_path / "more.csv", second=second, chosen=generous, progress=False
    )
    assert again.kept == 2


@pytest.mark.parametrize("cut", [0, 1, 7, 20])
def test_a_killed_run_continues(recordings: Path, tmp_path: Path, cut: int) -> None:
    files = find_recordings([recordings])
    whole, table = tmp_path / "whole.csv", tmp_path / "table.csv"
    label_recordings(Fake(ANSWERS), files, whole, progress=False)
    first = Fake({name: ANSWERS[name] for name in ("3.wav", "0.wav")})
    with pytest.raises(KeyError):
        label_recordings(first, files, table, progress=False)
    table.write_bytes(table.read_bytes()[: len(table.read_bytes()) - cut])
    second = Fake(ANSWERS)
    label_recordings(second, files, table, progress=False)
    assert second.asked == ([*(["0.wav"] if cut else []), "2.wav", "1.wav"])
    assert table.read_bytes() == whole.read_bytes()
    third = Fake(ANSWERS)
    assert label_recordings(third, files, table, progress=False).kept == 3
    assert third.asked == []


def test_a_table_of_another_teacher_or_filter_is_not_continued(recordings: Path, tmp_path: Path) -> None:
    files, table = find_recordings([recordings]), tmp_path / "table.csv"
    label_recordings(Fake(ANSWERS), files, table, progress=False)
    with pytest.raises(HFSpeechError, match="started with another min_confidence"):
        label_recordings(Fake(ANSWERS), files, table, chosen=LabelFilter(0.3), progress=False)
    with pytest.raises(HFSpeechError, match="started with another teacher"):
        label_recordings(Fake(ANSWERS, name="other"), files, table, progress=False)
    (tmp_path / "own.csv").write_text("path,text\n")
    with pytest.raises(HFSpeechError, match=r"own\.csv already exists without"):
        label_recordings(Fake(ANSWERS), files, tmp_path / "own.csv", progress=False)
    with pytest.raises(ModelError, match="choose models of one task"):
        label_recordings(Fake(ANSWERS), files, tmp_path / "x.csv", second=Fake({}, "label"), progress=False)


def test_reports_and_retries_unreadable_files(
    beeps_run: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], make_beeps: Any
) -> None:
    broken, table = tmp_path / "broken.wav", tmp_path / "table.csv"
    broken.write_text("no sound")
    words = ["label", str(beeps_run), str(recordings), str(broken), str(tmp_path / "none.wav"), "--output", str(table)]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert printed.err.count("error: ") == 2
    assert "broken.wav" in printed.err
    assert "none.wav" in printed.err
    assert "4 recordings" in printed.out
    soundfile.write(broken, make_beeps("ab"), 8000)
    with pytest.raises(SystemExit):
        main(words)
    assert "5 recordings" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "repeats"),
    [
        ("", 0),
        ("no", 0),
        ("no no no", 2),
        ("a b a b a b", 2),
        ("well a b c a b c d", 1),
        ("it is and it is", 0),
        ("a b a b a", 1),
        ("one two three four five " * 2, 0),
    ],
)
def test_counts_repeated_words(words: str, repeats: int) -> None:
    assert count_repeats(words.split()) == repeats


def test_rejects_loops_and_skipped_speech(recordings: Path, tmp_path: Path) -> None:
    files = find_recordings([recordings])
    answers = ["a", "thank you " * 9, "x" * 400, "two words"]
    teacher = Fake({file.name: (text, 0.9) for file, text in zip(files, answers, strict=True)})
    chosen = LabelFilter(min_rate=2, max_rate=300, max_repeats=3)
    counts = label_recordings(teacher, files, tmp_path / "t.csv", chosen=chosen, progress=False)
    assert (counts.kept, counts.rejected) == (1, 3)
    assert [row["text"] for row in rows_of(tmp_path / "t.csv")] == ["two words"]
    reasons = [row["reason"].split()[0] for row in rows_of(tmp_path / "t.rejected.csv")]
    assert reasons == ["fewer", "repeats", "more"]


def test_transcripts_are_written_in_the_alphabet_of_the_student(recordings: Path, tmp_path: Path) -> None:
    files = find_recordings([recordings])
    teacher = Fake({file.name: ("Well, 21 -- it\u2019s Tom's!", 0.9) for file in files})
    options: Any = {"normalizer": "english", "spell_numbers": True, "progress": False}
    label_recordings(teacher, files, tmp_path / "t.csv", **options)
    assert {row["text"] for row in rows_of(tmp_path / "t.csv")} == {"well twenty one it's tom's"}
    with pytest.raises(HFSpeechError, match="another normalizer"):
        label_recordings(teacher, files, tmp_path / "t.csv", progress=False)


class Team:
    """Threads in place of processes, which wait for each other."""

    def __init__(self, count: int) -> None:
        self.count, self.barrier = count, threading.Barrier(count)
        self.failed: list[int] = []
        self.result: Any = None

    def member(self, rank: int) -> Processes:
        def on_first(function: Any) -> Any:
            if rank == 0:
                self.result = function()
            self.barrier.wait(30)
            result = self.result
            self.barrier.wait(30)
            return dict(result)

        def gather(entries: list[str]) -> list[str]:
            self.barrier.wait(30)
            return entries

        return Processes(rank, self.count, on_first, gather)

    def label(self, teachers: list[Any], files: list[Path], table: Path, **options: Any) -> None:
        def work(rank: int) -> None:
            try:
                label_recordings(teachers[rank], files, table, processes=self.member(rank), progress=False, **options)
            except KeyError:  # An unknown file makes `Fake` fail: the others go on until they would wait for it.
                self.failed.append(rank)
                while not self.barrier.broken and self.barrier.n_waiting + len(self.failed) < self.count:
                    time.sleep(0.001)
                self.barrier.abort()
            except threading.BrokenBarrierError:
                pass

        threads = [threading.Thread(target=work, args=(rank,)) for rank in range(self.count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(("count", "again"), [(2, 2), (3, 1), (1, 2), (2, 3)])
def test_processes_share_recordings_and_continue_after_a_kill(
    tmp_path: Path, count: int, again: int, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labeling, "WINDOW", 4)
    files = [tmp_path / f"{number}.wav" for number in range(23)]
    for file in files:
        soundfile.write(file, np.full(800, 0.1), 8000)
    answers = {file.name: (f"text {file.stem}" if index % 5 else "", 0.9) for index, file in enumerate(files)}
    whole, table = (tmp_path / f"{name}{suffix}" for name in ("whole", "table"))
    label_recordings(Fake(answers), files, whole, progress=False)
    dying = [Fake(dict(list(answers.items())[: 9 + rank])) for rank in range(count)]  # Then it fails.
    Team(count).label(dying, files, table)
    begun = rows_of(table) if count == 1 or suffix == ".parquet" else []
    begun += [row for part in tmp_path.glob("table.part-*") for row in rows_of(part)]
    assert 0 < len(begun) < 18
    shards = {shard: shard.read_bytes() for shard in table.glob("*.parquet")}
    finishing = [Fake(answers) for _ in range(again)]
    Team(again).label(finishing, files, table)
    for name in ("{}", "{}.rejected"):
        found, expected = (rows_of(tmp_path / f"{name.format(stem)}{suffix}") for stem in ("table", "whole"))
        assert found == expected, "each once, in the order of the recordings"
    assert all(shard.read_bytes() == content for shard, content in shards.items()), "each written once"
    assert not list(tmp_path.glob("table*part-*"))
    answered = [name for teacher in dying for name in teacher.asked if name in teacher.answers]
    asked = answered + [name for teacher in finishing for name in teacher.asked]
    assert set(asked) == set(answers)
    assert len(asked) - len(answers) <= (3 * count if suffix == ".parquet" else 0), "at most unfinished shards again"
    assert all(teacher.asked for teacher in finishing)


def test_shards_become_a_corpus_with_the_teacher_on_its_card(recordings: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.parquet"
    label_recordings(Fake(ANSWERS), find_recordings([recordings]), table, progress=False)
    corpus = make_corpus("csv", train_file=str(table), text_column="text", validation_fraction=0, test_fraction=0)
    assert sorted(corpus.load()["train"]["text"]) == ["Hello, there", "two words", "yes"]
    assert "t.parquet contains labels of the model fake, not of humans." in corpus.caveats
    assert [row["reason"] for row in rows_of(tmp_path / "t.rejected.parquet")] == ["empty"]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_ten_thousand_files_by_two_processes_with_a_kill(tmp_path: Path, suffix: str) -> None:
    folder, table, repository = tmp_path / "files", tmp_path / f"table{suffix}", Path(__file__).resolve().parents[2]
    folder.mkdir()
    soundfile.write(folder / "0.wav", np.full(1600, 0.1), 8000)
    for number in range(1, 10_000):
        os.link(folder / "0.wav", folder / f"{number}.wav")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0"]
    command += ["--config_file", str(repository / "recipes" / "accelerate" / "cpu.yaml")]
    command += [str(Path(__file__).with_name("label_driver.py")), str(folder), "--output", str(table)]
    environment = os.environ | {"ASKED": str(tmp_path / "asked.txt"), "SECONDS_EACH": "0.002", "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(command, cwd=repository, env=environment, start_new_session=True)
    deadline = time.monotonic() + 300
    while sum(part.read_bytes().count(b"\n") for part in tmp_path.glob("table.part-*")) < 2500:
        if len(list(table.glob("[0-9]*.parquet"))) >= 2500 / labeling.WINDOW:
            break
        assert time.monotonic() < deadline
        assert first.poll() is None
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    done = subprocess.run(command, cwd=repository, env=environment | {"SECONDS_EACH": "0"}, timeout=500, check=False)
    assert done.returncode == 0
    assert [row["text"] for row in rows_of(table)] == [f"text {number}" for number in range(10_000)]
    asked = (tmp_path / "asked.txt").read_text(encoding="utf-8").split()
    assert set(asked) == {str(number) for number in range(10_000)}
    again = 2 * (labeling.WINDOW if suffix == ".parquet" else 1)
    assert len(asked) <= 10_000 + again, "at most what each process was at is asked again"
    assert not list(tmp_path.glob("table*part-*"))


def test_writes_and_filters_the_mean_log_probability(recordings: Path, tmp_path: Path) -> None:
    files = find_recordings([recordings])
    values = dict(zip((file.name for file in files), (-0.1, -0.9, -1.2, None), strict=True))

    class Certain(Fake):
        def label(self, files: Sequence[Path]) -> Iterator[Label]:
            for file in files:
                yield Label("some text", 0.5, 1.0, log_probability=values[file.name])

    table = tmp_path / "t.csv"
    label_recordings(Certain({}), files, table, chosen=LabelFilter(min_log_probability=-1), progress=False)
    assert [row["log_probability"] for row in rows_of(table)] == ["-0.1000", "-0.9000", ""]
    assert [row["reason"] for row in rows_of(tmp_path / "t.rejected.csv")] == ["log probability below -1"]
