"""Console output in any encoding, with control characters escaped."""

from __future__ import annotations

import io
import sys

import pytest

from hf_speech.common.console import echo, use_utf8


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "koi8_r"])
def test_escapes_characters_that_the_encoding_lacks(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    echo("صفر 三: 1")
    assert written.getvalue() == b"\\u0635\\u0641\\u0631 \\u4e09: 1\n"


def test_the_command_line_writes_utf8_in_any_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252"))
    use_utf8()
    echo("čtyři 三")
    assert written.getvalue().decode("utf-8") == "čtyři 三\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07", "\\u001b]0;owned\\u0007"),
        ("a\rb", "a\\u000db"),
        ("\x9b2J", "\\u009b2J"),
        ("name\ud800.wav", "name\\ud800.wav"),
        ("two\nlines", "two\nlines"),
    ],
)
def test_escapes_control_characters(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    echo(text, end="")
    echo(text, error=True, end="")
    assert capsys.readouterr() == (shown, shown)
