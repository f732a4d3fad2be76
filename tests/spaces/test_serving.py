"""What the environment may say, and which uploads are erased when."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the Spaces need gradio: pip install 'hf_speech[demo]'")


@pytest.fixture
def serving(space_module: Callable[[str, str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    return space_module("transcribe", "serving")


def test_settings_have_defaults(serving: ModuleType, tmp_path: Path) -> None:
    settings = serving.Settings.from_environment({"MODEL_ID": f" {tmp_path} "})
    assert settings.model_folder() == tmp_path
    assert settings.model_name == tmp_path.name  # not where it lies
    assert (settings.max_seconds, settings.max_megabytes, settings.concurrency) == (300, 30, 2)
    assert settings.erasing == (30, 300)


def test_settings_are_read(serving: ModuleType) -> None:
    settings = serving.Settings.from_environment(
        {"MODEL_ID": "a/b", "MODEL_REVISION": "0" * 40, "MAX_SECONDS": "12.5", "KEEP_SECONDS": "7", "CONCURRENCY": "3"}
    )
    assert settings.revision == "0" * 40
    assert (settings.max_seconds, settings.keep_seconds, settings.concurrency) == (12.5, 7, 3)
    assert settings.erasing == (1, 7)
    assert settings.model_name == "a/b"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "Set MODEL_ID"),
        ({"MODEL_ID": "a/b", "MAX_SECONDS": "long"}, "MAX_SECONDS is 'long': give a number above 0"),
        ({"MODEL_ID": "a/b", "MAX_MEGABYTES": "-1"}, "MAX_MEGABYTES"),
        ({"MODEL_ID": "a/b", "CONCURRENCY": "0"}, "CONCURRENCY"),
        ({"MODEL_ID": "a/b", "KEEP_SECONDS": "nan"}, "KEEP_SECONDS"),
    ],
)
def test_wrong_settings_end_in_a_sentence(serving: ModuleType, environment: dict[str, str], message: str) -> None:
    with pytest.raises(serving.SettingsError, match=message):
        serving.Settings.from_environment(environment)


@pytest.mark.parametrize("revision", ["", "main", "v1.0", "0" * 39, "0" * 7])
def test_code_from_the_hub_is_run_of_a_pinned_commit_only(serving: ModuleType, revision: str) -> None:
    settings = serving.Settings.from_environment({"MODEL_ID": "owner/name", "MODEL_REVISION": revision})
    with pytest.raises(serving.SettingsError, match="must be the commit of owner/name"):
        settings.model_folder()


def test_a_model_that_cannot_be_had(serving: ModuleType) -> None:
    for model_id, message in (("/nowhere/at/all", "no model folder"), ("owner/name", "cannot be had from the Hub")):
        settings = serving.Settings.from_environment({"MODEL_ID": model_id, "MODEL_REVISION": "0" * 40})
        with pytest.raises(serving.SettingsError, match=message):
            settings.model_folder()


def upload(serving: ModuleType, name: str) -> str:
    path: Path = serving.UPLOADS / name / "sound.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"sound")
    return str(path)


def test_uploads_are_erased_with_their_page(serving: ModuleType) -> None:
    mine, common, example = (upload(serving, name) for name in ("mine", "common", "example"))
    interface = SimpleNamespace(blocks={0: SimpleNamespace(keep_in_cache={example})})
    visits = serving.Visits(interface)
    here, there = SimpleNamespace(session_hash="here"), SimpleNamespace(session_hash="there")
    for request, path in ((here, mine), (here, common), (there, common), (here, example), (here, None)):
        visits.remember(request, path)
    visits.forget(here)
    assert not Path(mine).exists()
    assert not Path(mine).parent.exists()
    assert Path(common).exists()  # another page still has it
    assert Path(example).exists()
    visits.forget(there)
    assert not Path(common).exists()
    visits.forget(there)  # once more, and nothing happens
    visits.remember(None, example)


def test_only_uploads_can_be_erased(serving: ModuleType, tmp_path: Path) -> None:
    """A visitor may claim that any path is the sound; only a file that an upload wrote is deleted."""
    other, mine = Path(upload(serving, "other")), Path(upload(serving, "mine"))
    outside = tmp_path / "outside" / "precious"
    outside.parent.mkdir()
    outside.write_text("precious")
    link = serving.UPLOADS / "mine" / "link.wav"
    link.symlink_to(outside)
    deep = serving.UPLOADS / "mine" / "deep" / "sound.wav"
    deep.parent.mkdir()
    deep.write_text("too deep")
    visits = serving.Visits(SimpleNamespace(blocks={}))
    visitor = SimpleNamespace(session_hash="visitor")
    claims = [
        *(serving.UPLOADS, serving.UPLOADS.parent, mine.parent, other.parent, outside, outside.parent, "/", "."),
        *(link, deep, f"{mine.parent}/../other/sound.wav", "", serving.UPLOADS / "nowhere"),
    ]
    for claim in claims:
        visits.remember(visitor, str(claim))
    visits.forget(visitor)
    assert all(path.is_file() for path in (other, mine, outside, deep))
    visits.remember(visitor, str(mine))
    mine.unlink()
    mine.symlink_to(outside)  # what a path was when it was noted need not be what it is now
    visits.forget(visitor)
    assert outside.is_file()


def test_the_unforeseen_is_an_apology_and_no_traceback(serving: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    import gradio as gr

    def broken() -> dict[str, Any]:
        raise RuntimeError("a secret of the server")

    def refusing() -> dict[str, Any]:
        raise serving.SoundError("a.wav is empty.")

    assert serving.for_page(broken) == {"error": serving.APOLOGY}
    assert "a secret of the server" in capsys.readouterr().err  # but in the log
    assert serving.for_page(refusing) == {"error": "a.wav is empty."}
    with pytest.raises(gr.Error, match="Something went wrong here"):
        serving.for_programs(broken)()
    with pytest.raises(gr.Error, match=r"a\.wav is empty") as error:
        serving.for_programs(refusing)()
    assert not error.value.print_exception


def test_examples_are_not_erased_as_uploads(serving: ModuleType, tmp_path: Path) -> None:
    """gradio ages its copies of them like uploads; this is why `examples` tells it to keep them."""
    import gradio as gr
    from gradio.route_utils import delete_files_created_by_app

    with gr.Blocks(analytics_enabled=False) as interface:
        sound = gr.Audio(type="filepath")
        serving.examples(sound)
    copies = set(sound.temp_files)
    assert len(copies) == 3
    for copy in copies:
        os.utime(copy, (time.time() - 10_000,) * 2)
    time.sleep(0.05)
    delete_files_created_by_app(interface, age=0)
    assert all(Path(copy).is_file() for copy in copies)
    sound.keep_in_cache.clear()
    delete_files_created_by_app(interface, age=0)
    assert not any(Path(copy).is_file() for copy in copies)
