"""`hf-speech build-lm`: text in the encodings of other programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_speech.cli.app import main
from hf_speech.decoding import ArpaModel


def build(text: Path, output: Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(["build-lm", str(text), "--output", str(output), "--order", "2"])
    return int(exit_.value.code or 0)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_is_read_in_its_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "text.txt").write_bytes("YES\r\nGRÜN YES\r\n".encode(encoding))
    assert build(tmp_path / "text.txt", tmp_path / "lm.arpa") == 0
    assert ArpaModel.load(tmp_path / "lm.arpa").vocabulary == {"YES", "GRÜN"}


@pytest.mark.parametrize("content", ["GRÜN\n".encode("cp1252"), "YES\n".encode("utf-16-le"), b"\xff\xfeY\0E"])
def test_other_text_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    (tmp_path / "text.txt").write_bytes(content)
    assert build(tmp_path / "text.txt", tmp_path / "lm.arpa") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "text.txt is not text" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "lm.arpa").exists()
