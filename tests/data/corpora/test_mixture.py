"""Mixtures of corpora: rows, classes, transcripts, shares, streams."""

from __future__ import annotations

import pickle
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel

from hf_speech.data import make_corpus
from hf_speech.data.corpora import Member, Mixture
from hf_speech.data.corpora.mixed_stream import LocalStream, MixedStream, RowAdapter
from hf_speech.data.shares import ShareDraw
from hf_speech.errors import CorpusError


@pytest.fixture
def folders(digit_folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two folders of tones; the second has the classes 'bass', 'treble' and 'hum', of which 'hum' is 'low' again."""
    other = tmp_path / "other"
    for name, new in (("low", "bass"), ("high", "treble"), ("low", "hum")):
        shutil.copytree(digit_folder / name, other / new)
    return digit_folder, other


def folder_member(path: Path, **options: Any) -> Member:
    corpus = make_corpus("folder", data_dir=str(path), speaker_pattern="(speaker[0-9])_", test_fraction=0.3)
    return Member(corpus=corpus, **options)


def mixture(folders: tuple[Path, Path], **options: Any) -> Mixture:
    renamed = {"bass": "low", "treble": "high", "hum": None}
    members = [folder_member(folders[0]), folder_member(folders[1], labels=renamed, **options)]
    return Mixture(corpora=members)


def test_renames_and_drops_classes_and_adds_the_corpus_name(folders: tuple[Path, Path]) -> None:
    corpus = mixture(folders)
    splits = corpus.load()
    feature = splits["train"].features["label"]
    assert isinstance(feature, ClassLabel)
    assert feature.names == ["high", "low"]
    for split, rows in splits.items():
        for row in rows:
            name = Path(row["audio"]["path"]).parent.name
            assert row["corpus"] == ("folder" if name in ("low", "high") else "folder-2")
            assert feature.int2str(row["label"]) == {"bass": "low", "treble": "high"}.get(name, name)
            assert row["speaker"].startswith(f"{row['corpus']}/speaker")
        assert Counter(rows["corpus"])["folder"] == Counter(rows["corpus"])["folder-2"], split
    assert not any("hum" in row["path"] for rows in splits.values() for row in rows["audio"])


def test_a_corpus_with_weight_0_is_only_in_the_test_split(folders: tuple[Path, Path]) -> None:
    splits = mixture(folders, weight=0).load()
    assert set(splits["train"]["corpus"]) == set(splits["validation"]["corpus"]) == {"folder"}
    assert set(splits["test"]["corpus"]) == {"folder", "folder-2"}


def test_rejects_renaming_a_missing_class(folders: tuple[Path, Path]) -> None:
    with pytest.raises(CorpusError, match="'folder' has no class 'loud': use one of high, low"):
        Mixture(corpora=[folder_member(folders[0], labels={"loud": "low"})]).load()


def test_rejects_corpora_of_two_tasks(folders: tuple[Path, Path], tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    files = sorted((folders[0] / "low").iterdir())
    table.write_text("path,text\n" + "".join(f"{file},hello\n" for file in files))
    texts = make_corpus("csv", train_file=str(table), text_column="text")
    with pytest.raises(CorpusError, match="the same target column: folder has `label`, csv has `text`"):
        Mixture(corpora=[folder_member(folders[0]), Member(corpus=texts)]).load()


def test_each_corpus_has_its_own_normalizer(folders: tuple[Path, Path], tmp_path: Path) -> None:
    members = []
    for name, text, normalize in (("a", "HELLO", str.lower), ("b", "Hi", None)):
        table = tmp_path / f"{name}.csv"
        files = sorted((folders[0] / "low").iterdir())
        table.write_text("path,text\n" + "".join(f"{file},{text}\n" for file in files))
        members.append(
            Member(corpus=make_corpus("csv", train_file=str(table), text_column="text"), normalize=normalize)
        )
    rows = Mixture(corpora=members).load()["train"]
    assert set(zip(rows["corpus"], rows["text"], strict=True)) == {("csv", "hello"), ("csv-2", "Hi")}


def test_bad_rows_must_be_the_same_for_all_corpora(folders: tuple[Path, Path]) -> None:
    corpus = Mixture(corpora=[folder_member(folders[0])], bad_rows="skip")
    assert corpus.members["folder"].corpus.bad_rows == "skip"


@pytest.mark.parametrize(
    ("weights", "temperature", "expected"),
    [
        ((None, None), 1.0, None),
        ((1.0, 3.0), 1.0, [0.25, 0.75]),
        ((None, None), 2.0, [10 / 11, 1 / 11]),  # sqrt(10000) : sqrt(100)
        ((None, 100.0), 1.0, [10000 / 10100, 100 / 10100]),
        ((1.0, 0.0), 1.0, [1.0, 0.0]),
    ],
)
def test_shares_follow_weights_and_temperature(
    folders: tuple[Path, Path], weights: Any, temperature: float, expected: list[float] | None
) -> None:
    members = [folder_member(folder, weight=weight) for folder, weight in zip(folders, weights, strict=True)]
    shares = Mixture(corpora=members, temperature=temperature).shares({"folder": 10000, "folder-2": 100})
    assert (shares and list(shares.values())) == (expected and pytest.approx(expected))


def test_an_epoch_has_the_shares_and_uses_rows_equally_often() -> None:
    corpora = ["large"] * 1000 + ["small"] * 50
    draw = ShareDraw(corpora, {"large": 0.6, "small": 0.4}, seed=3)
    seen: Counter[int] = Counter()
    for epoch in range(10):
        rows = draw.rows(epoch)
        assert len(rows) == len(set(rows.tolist())) == 1050, "copies of a row have indices of their own"
        assert sum(corpora[row % 1050] == "large" for row in rows) == 630
        seen.update((rows % 1050).tolist())
    large = [seen[row] for row in range(1000)]
    small = [seen[row] for row in range(1000, 1050)]
    assert (min(large), max(large)) == (6, 7)
    assert (min(small), max(small)) == (84, 84)


def test_epochs_differ_and_repeat_by_seed() -> None:
    corpora, shares = ["a"] * 30 + ["b"] * 10, {"a": 0.5, "b": 0.5}
    first, second = (ShareDraw(corpora, shares, seed=1).rows(epoch).tolist() for epoch in (0, 1))
    assert first == ShareDraw(corpora, shares, seed=1).rows(0).tolist()
    assert first != second
    assert first != ShareDraw(corpora, shares, seed=2).rows(0).tolist()


def rows_of(stream: Any, count: int, process: tuple[int, int] = (0, 1)) -> list[dict[str, Any]]:
    rows = stream.rows(0, process)
    return [next(rows) for _ in range(count)]


def test_streams_are_mixed_by_weight_and_each_pass_has_every_row_once(folders: tuple[Path, Path]) -> None:
    tables = [folder_member(folder).load()["train"] for folder in folders]
    stream = MixedStream(
        {"a": LocalStream(tables[0]), "b": LocalStream(tables[1])}, {"a": 1.0, "b": 3.0}, adapters={}, seed=1
    )
    rows = rows_of(stream, 1200)
    assert Counter(row["corpus"] for row in rows)["a"] == pytest.approx(300, abs=60)
    assert rows[0]["audio"]["bytes"].startswith(b"RIFF")
    for name, table in zip("ab", tables, strict=True):
        first = [row["audio"]["path"] for row in rows if row["corpus"] == name and row["pass"] == 0]
        assert sorted(first) == sorted(audio["path"] for audio in table["audio"])
    again = [row["audio"]["path"] for row in rows_of(stream, 50)]
    assert again == [row["audio"]["path"] for row in rows[:50]]


def test_two_processes_divide_a_local_stream(folders: tuple[Path, Path]) -> None:
    table = folder_member(folders[0]).load()["train"]
    parts = [[row["audio"]["path"] for row in LocalStream(table).rows(0, (rank, 2))] for rank in (0, 1)]
    assert not set(parts[0]) & set(parts[1])
    assert sorted(parts[0] + parts[1]) == sorted(audio["path"] for audio in table["audio"])


def test_a_mixed_stream_leaves_out_and_renames_classes() -> None:
    adapt = RowAdapter(
        ["bass", "hum", "new", "treble"], ["high", "low"], {"bass": "low", "treble": "high", "hum": None}
    )
    adapt = pickle.loads(pickle.dumps(adapt))  # As in loader processes.
    rows = [adapt({"label": label}) for label in (0, 1, 2, 3, None)]
    assert rows == [{"label": 1}, None, {"label": None}, {"label": 0}, {"label": None}]
    assert RowAdapter(None, [], {}, str.lower)({"text": "HI"}) == {"text": "hi"}
