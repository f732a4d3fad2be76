"""Files of a corpus: links, Unicode forms of names, and circular links."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from hf_speech.data.corpora.files import find_file, walk_files
from hf_speech.errors import CorpusError


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_follows_links_and_skips_hidden_files(tmp_path):
    touch(tmp_path / "store" / "sub" / "b10.wav")
    root = tmp_path / "root"
    touch(root / "a" / "b9.wav")
    touch(root / ".git" / "c.wav")
    (root / "linked").symlink_to(tmp_path / "store")
    (root / "a" / "b10.wav").symlink_to(tmp_path / "gone.wav")
    assert [str(path.relative_to(root)) for path in walk_files(root)] == [
        "a/b9.wav",
        "a/b10.wav",
        "linked/sub/b10.wav",
    ]


def test_rejects_circular_links(tmp_path):
    touch(tmp_path / "a" / "b" / "c.wav")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    with pytest.raises(CorpusError, match="up is a link to a folder that contains it"):
        walk_files(tmp_path)


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize(
    "name", ["caf\u00e9.wav", "f\u00fcr/stra\u00dfe.wav", "d/\u00e0 la carte/x.wav", "\u30ac\u30ae.wav"]
)
def test_finds_a_name_in_either_unicode_form(tmp_path, stored, name):
    path = touch(tmp_path / unicodedata.normalize(stored, name))
    for form in ("NFC", "NFD"):
        assert os.path.samefile(find_file(tmp_path, unicodedata.normalize(form, name)), path)


def test_finds_absolute_names_and_names_with_backslashes(tmp_path):
    path = touch(tmp_path / "a" / "b.wav")
    assert find_file(tmp_path, "a\\b.wav") == path
    assert find_file(tmp_path / "elsewhere", str(path)) == path
    assert find_file(tmp_path, "a/missing.wav") == tmp_path / "a" / "missing.wav"
    assert find_file(tmp_path, "\u00e9" * 5000) == tmp_path / ("\u00e9" * 5000)
