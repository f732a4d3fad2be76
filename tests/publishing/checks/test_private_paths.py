"""More kinds of local paths and e-mail addresses, in addition to test_checks.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hf_speech.errors import PublishError
from hf_speech.publishing import stage
from hf_speech.publishing.checks import private_paths
from hf_speech.publishing.checks.private_paths import anonymize, find_email, find_path, shorten_paths
from hf_speech.publishing.checks.upload import Upload


@pytest.mark.parametrize(
    ("place", "short"),
    [
        ("/export/work/anna/an4", "path/to/an4"),
        ("/cluster/home/anna/an4", "path/to/an4"),
        ("/afs/cs.example.edu/user/anna/an4", "path/to/an4"),
        ("\\\\server\\share\\anna\\an4", "path/to/an4"),
        ("E:\\data\\an4", "path/to/an4"),
        ("z:\\x\\an4", "path/to/an4"),
        ("~anna/corpora/an4", "path/to/an4"),
        ("anna@gpu1:/scratch/an4", "path/to/an4"),
        ("anna@gpu1.example.edu:corpora/an4", "path/to/an4"),
        ("/dbfs/mnt/an4", "path/to/an4"),
    ],
)
def test_finds_local_paths(place: str, short: str) -> None:
    for text in (place, f"see {place}", f'"{place}"', f"--data_dir={place}", json.dumps({"a": place})):
        assert find_path(text) is not None, text
    assert shorten_paths(f"--data_dir {place} --x") == f"--data_dir {short} --x"


@pytest.mark.parametrize(
    "text", ["~/data/x", "git@github.com:org/repo.git", "a:\nb", "ratio 3:4/5", "x~y/z", "ann/x@v1.0", r"\d+\s*(\w+)"]
)
def test_ignores_strings_that_are_not_local_paths(text: str) -> None:
    assert find_path(text) is None


@pytest.mark.parametrize("text", ["anna.b@uni-x.edu", "mail: a+b@sub.firma.de.", "<x_y@mail.co.uk>", "'anna@x.org',"])
def test_finds_email_addresses(text: str) -> None:
    found = find_email(f"first\n{text}")
    assert found is not None
    assert found[1] == 2
    assert "name@example.org" in anonymize(text)


@pytest.mark.parametrize(
    "text", ["anna@example.org", "git@github.com", "ann/x@v1.0", "@decorator.name", "a @ b.c", "user@host", "x@y.org@z"]
)
def test_ignores_strings_that_are_not_email_addresses(text: str) -> None:
    assert find_email(text) is None


def test_finds_email_addresses_in_files(digits: Path, tmp_path: Path) -> None:
    training = json.loads((digits / "training.json").read_text())
    training["command"] = "hf-speech train fsdd --name anna@uni-x.edu"
    (digits / "training.json").write_text(json.dumps(training))
    staged = stage(digits, tmp_path / "staged", repo_id="anna/x")
    assert "uni-x" not in (staged.folder / "training.json").read_text()
    assert "uni-x" not in (staged.folder / "README.md").read_text()
    (digits / "NOTICE").write_text("Thanks to anna@uni-x.edu.")
    table = digits / "evaluation" / "test.csv"
    table.write_text(table.read_text() + "anna@uni-x.edu\n")
    with pytest.raises(PublishError, match=r"test\.csv, line \d+, has an e-mail address: remove it"):
        stage(digits, tmp_path / "again", repo_id="anna/x")


@pytest.fixture
def noise() -> bytes:
    """Returns 4 MB of random bytes, which resemble compressed sound."""
    return np.random.default_rng(0).bytes(4 << 20)


def check_file(folder: Path, content: bytes) -> None:
    (folder / "sound.flac").write_bytes(content)
    private_paths.check(Upload(folder))


def test_finds_nothing_in_compressed_sound(tmp_path: Path, noise: bytes) -> None:
    assert find_path(noise.decode("ascii", "replace")) is not None, "else this shows nothing"
    check_file(tmp_path, noise)


@pytest.mark.parametrize(
    "place",
    [b"/tmp/x", b"/home/anna/x.wav", b"~anna/corpora/an4", b"anna@gpu1:/scratch/an4", b"E:\\data\\corpora\\an4"],
)
def test_finds_local_paths_in_sound_files(tmp_path: Path, noise: bytes, place: bytes) -> None:
    with pytest.raises(PublishError, match="a place on this machine"):
        check_file(tmp_path, noise[:1000] + b"\0" + place + b"\0" + noise[:1000])


def test_finds_an_email_address_in_sound_files(tmp_path: Path, noise: bytes) -> None:
    with pytest.raises(PublishError, match="has an e-mail address"):
        check_file(tmp_path, noise[:1000] + b"\0ARTIST=anna.berg@university.edu\0" + noise[:1000])
