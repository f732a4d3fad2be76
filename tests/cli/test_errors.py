"""Errors of the command line: one sentence on standard error and exit status 2, never a traceback."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import run

from hf_speech.cli.app import app


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a.json"), "'a.json' cannot be used: the disk is full"),
        (OSError(errno.EROFS, "Read-only file system", b"a.json"), "'a.json' cannot be used: the file system is read"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission is denied: choose another folder."),
        (OSError("Can't load the configuration of 'x'."), "Can't load the configuration of 'x'."),
        (RecursionError("maximum recursion depth exceeded"), "The input is nested too deeply"),
        (MemoryError(), "Out of memory"),
    ],
)
def test_one_sentence_error_for_system_errors(
    error: Exception, sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    (version,) = (command for command in app.registered_commands if command.name == "version")
    monkeypatch.setattr(version, "callback", fail)
    assert run("version") == 2
    assert capsys.readouterr().err.startswith(f"error: {sentence}")


def test_an_interrupt_is_not_an_error(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    (version,) = (command for command in app.registered_commands if command.name == "version")
    monkeypatch.setattr(version, "callback", interrupt)
    assert run("version") == 130
    assert "Traceback" not in capsys.readouterr().err


def test_escapes_names_in_error_messages(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "no\n\x1b[2Jerror: forged") == 2
    error = capsys.readouterr().err
    assert [line for line in error.splitlines() if line.startswith("error: ")] == [error.splitlines()[0]]
    assert "\x1b" not in error


def test_exits_quietly_on_a_closed_pipe() -> None:
    command = f"'{sys.executable}' -m hf_speech.cli --help | true"
    finished = subprocess.run(["bash", "-c", command], capture_output=True, encoding="utf-8", timeout=60)
    assert "Traceback" not in finished.stderr
    assert "BrokenPipe" not in finished.stderr


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_imports_no_heavy_library(option: str, tmp_path: Path) -> None:
    program = "import sys; from hf_speech.cli.app import main\ntry: main([sys.argv[1]])\nexcept SystemExit: pass\n"
    program += "print([name for name in ('torch', 'transformers', 'datasets', 'matplotlib') if name in sys.modules])"
    words = [sys.executable, "-c", program, option]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    finished = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=60, env=environment)
    assert finished.returncode == 0, finished.stderr
    assert "publish-corpus" in finished.stdout
    assert finished.stdout.splitlines()[-1] == "[]"


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from hf_speech import __version__

    assert run("--version") == 0
    assert capsys.readouterr().out == f"hf_speech {__version__}\n"
