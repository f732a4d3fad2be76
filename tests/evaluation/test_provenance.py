"""Provenance of metrics: commits, checksums, machines."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedConfig

from hf_speech.common.fingerprint import weights_revision
from hf_speech.evaluation.provenance import git_commit, machine, split_fingerprint


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    run = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return run.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init")
    (tmp_path / "tracked.py").write_text("a = 1\n")
    git(tmp_path, "add", "tracked.py")
    git(tmp_path, "commit", "-m", "first")
    return tmp_path


def test_returns_the_commit_and_whether_files_changed(checkout: Path):
    commit = git(checkout, "rev-parse", "HEAD")
    assert git_commit(checkout / "tracked.py") == commit
    (checkout / "untracked.txt").write_text("no matter")
    assert git_commit(checkout / "tracked.py") == commit
    (checkout / "tracked.py").write_text("a = 2\n")
    assert git_commit(checkout / "tracked.py") == f"{commit}-dirty"


def test_ignores_an_unrelated_checkout(checkout: Path, tmp_path: Path):
    installed = checkout / ".venv" / "package.py"
    installed.parent.mkdir()
    installed.write_text("")
    assert git_commit(installed) is None


def test_no_commit_without_git_or_checkout(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    assert git_commit(checkout / "tracked.py") is None


def test_identifies_weights_by_checksum_or_commit(tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256 of "abc", FIPS 180-2.
    assert weights_revision(tmp_path, PreTrainedConfig()) == f"sha256:{known}"
    config = PreTrainedConfig()
    config._commit_hash = "c0ffee"
    assert weights_revision(Path("owner/name"), config) == "c0ffee"


def test_fingerprint_depends_on_contents_not_on_path_or_order(tmp_path: Path):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        for name, content in (("a.wav", b"first"), ("b.wav", b"second")):
            (tmp_path / folder / name).write_bytes(content)

    def fingerprint(folder: str, names: str, references: list[str]) -> str:
        rows = [{"path": str(tmp_path / folder / f"{name}.wav"), "bytes": None} for name in names]
        return split_fingerprint(rows, references)

    expected = fingerprint("here", "ab", ["yes", "no"])
    assert fingerprint("there", "ab", ["yes", "no"]) == expected
    assert fingerprint("here", "ba", ["no", "yes"]) == expected
    assert split_fingerprint([{"path": None, "bytes": b"first"}, {"bytes": b"second"}], ["yes", "no"]) == expected
    assert fingerprint("here", "ab", ["no", "yes"]) != expected
    assert fingerprint("here", "aa", ["yes", "no"]) != expected
    (tmp_path / "there" / "b.wav").write_bytes(b"Second")
    assert fingerprint("there", "ab", ["yes", "no"]) != expected
    (tmp_path / "there" / "b.wav").unlink()
    assert fingerprint("there", "ab", ["yes", "no"]).startswith("sha256:")


def test_machine_has_processor_and_threads():
    described = machine(torch.device("cpu"))
    assert described["device"] == "cpu"
    assert described["processor"]
    assert described["threads"] == torch.get_num_threads()
