"""Tables of labels: unfinished runs, and invalid names and contents."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from hf_speech.errors import HFSpeechError
from hf_speech.inference.label_tables import Row, open_table

COLUMNS = ["path", "text", "confidence", "duration"]
NAMES = ["b.wav", "a.wav", "c.wav", "d.wav"]


def row(name: str) -> Row:
    return {"path": name, "text": f"says {name}", "confidence": 0.5, "duration": None, "more": "ignored"}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_continues_a_table(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    for names in (["b.wav", "a.wav"], ["c.wav"], ["d.wav"]):
        table = open_table(path, COLUMNS, NAMES)
        table.collect()
        table.begin(None)
        for name in names:
            table.add(row(name))
        table.flush()
    assert open_table(path, COLUMNS, NAMES).collect() == NAMES


def test_sorts_shards_by_their_first_recording(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    for names in (["d.wav"], ["a.wav", "c.wav"], ["b.wav"]):
        table = open_table(path, COLUMNS, NAMES)
        table.begin(3)
        for name in names:
            table.add(row(name))
        table.flush()
        table.flush()  # No label.
    (path / ".torn.parquet").write_bytes(b"PAR1")  # From a process killed while writing.
    assert open_table(path, COLUMNS, NAMES).collect() == NAMES
    assert len(list(path.iterdir())) == 3
    assert pyarrow.parquet.read_table(path).column("path").to_pylist() == NAMES, "other readers find the same"


@pytest.mark.parametrize("content", [b"", b"PAR1 is not all", None])
def test_reports_an_invalid_shard(tmp_path: Path, content: bytes | None) -> None:
    shard = tmp_path / "t.parquet" / "0.parquet"
    shard.parent.mkdir()
    pyarrow.parquet.write_table(pyarrow.table({"path": ["a.wav"], "other": [1]}), shard)
    if content is not None:
        shard.write_bytes(content)
    with pytest.raises(HFSpeechError, match=r"0\.parquet (cannot be read|was not written by this command)"):
        open_table(shard.parent, COLUMNS, NAMES).collect()


@pytest.mark.parametrize("name", ["t.tsv", "t", "t.json"])
def test_rejects_another_format(tmp_path: Path, name: str) -> None:
    with pytest.raises(HFSpeechError, match=r"choose a name that ends in \.csv or \.parquet"):
        open_table(tmp_path / name, COLUMNS, NAMES)
