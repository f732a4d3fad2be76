"""Validation of function calls."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

gr = pytest.importorskip("gradio", reason="the Spaces need gradio: pip install 'hf_speech[demo]'")


@pytest.fixture
def calls(space_module: Callable[[str, str], Any]) -> ModuleType:
    return space_module("transcribe", "calls")


@pytest.fixture
def uploads(space_module: Callable[[str, str], Any], tmp_path: Path) -> Any:
    return space_module("transcribe", "uploads").Uploads(60, 1e6, tmp_path)


def test_looks_up_files_in_the_table(calls: ModuleType, uploads: Any, tmp_path: Path) -> None:
    upload = uploads.add("my sound.wav", io.BytesIO(b"sound"))
    sent = {"path": str(upload.path), "orig_name": "../other", "url": "http://example.org", "is_stream": True}
    (checked,) = calls.check_inputs([gr.Audio()], [sent], uploads)
    assert checked == {
        "path": str(upload.path),
        "orig_name": "my sound.wav",
        "size": 5,
        "meta": {"_type": "gradio.FileData"},
    }
    assert calls.check_inputs([gr.File(file_count="multiple")], [[sent, sent]], uploads) == [[checked, checked]]
    assert calls.check_inputs([gr.Audio()], [None], uploads) == [None]
    assert calls.check_inputs([gr.File()], [[]], uploads) == [None]
    (tmp_path / "other").write_text("not an upload")
    for path in ("/etc/passwd", str(tmp_path), str(tmp_path / "other"), str(upload.path.parent), "", None, 5, [], {}):
        for component, value in ((gr.Audio(), {"path": path}), (gr.File(), [{"path": path}])):
            with pytest.raises(gr.Error, match="no longer stored"):
                calls.check_inputs([component], [value], uploads)
    for value in ({}, [], 5, True, "text", {"url": "x"}):
        with pytest.raises(gr.Error, match="no longer stored"):
            calls.check_inputs([gr.Audio()], [value], uploads)
    for address in ("http://127.0.0.1/", "https://example.org/a.wav"):
        with pytest.raises(gr.Error, match="URLs are not fetched"):
            calls.check_inputs([gr.Audio()], [{"path": address}], uploads)


@pytest.mark.parametrize(
    ("make", "good", "bad"),
    [
        (gr.Checkbox, [True, False, None], [1, "true", [], {}, 1e300]),
        (
            lambda: gr.Number(5, minimum=1, maximum=10, label="top_k"),
            [1, 10, 2.5],
            [
                *(None, True, "3", float("nan"), float("inf"), -1, 0, 11, 10**30, 1e300, [3], {"value": 3}),
            ],
        ),
        (lambda: gr.Dropdown(["srt", "vtt"], label="format"), ["srt"], ["doc", None, 1, ["srt"], {"a": 1}, "SRT"]),
        (gr.Textbox, [], ["text", None]),  # unused by Spaces
    ],
)
def test_rejects_values_that_a_component_cannot_have(
    calls: ModuleType, uploads: Any, make: Callable[[], Any], good: list[Any], bad: list[Any]
) -> None:
    for value in good:
        assert calls.check_inputs([make()], [value], uploads) == [bool(value) if value is None else value]
    for value in bad:
        with pytest.raises(gr.Error) as refusal:
            calls.check_inputs([make()], [value], uploads)
        assert str(refusal.value.message).endswith(".")
        assert not refusal.value.print_exception


def test_ignores_state_in_a_call(calls: ModuleType, uploads: Any) -> None:
    assert calls.check_inputs([gr.State([])], [[["rows", "of", "another"]]], uploads) == [None]
    assert calls.check_inputs([gr.State([])], [1, "more"], uploads) == [None]
    for values in ([], None, "ab", {"0": 1}):
        with pytest.raises(gr.Error, match="takes 1 values"):
            calls.check_inputs([gr.State([])], values, uploads)


def test_unexpected_errors_give_an_apology_without_traceback(
    calls: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> dict[str, Any]:
        raise RuntimeError("a secret of the server")

    def refusing() -> dict[str, Any]:
        raise calls.SoundError("a.wav is empty.")

    assert calls.for_page(broken) == {"error": calls.APOLOGY}
    assert "a secret of the server" in capsys.readouterr().err  # only in the log
    assert calls.for_page(refusing) == {"error": "a.wav is empty."}
    with pytest.raises(gr.Error, match="Something went wrong on the server"):
        calls.for_programs(broken)()
    with pytest.raises(gr.Error, match=r"a\.wav is empty") as error:
        calls.for_programs(refusing)()
    assert not error.value.print_exception
