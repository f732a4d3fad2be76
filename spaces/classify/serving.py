"""What a Space is told by its environment, where its model comes from, and how it is served.

| variable | |
|---|---|
| MODEL_ID | a model folder, or a model of the Hub (`owner/name`); without it, the folder `model` beside this file |
| MODEL_REVISION | the commit of a model of the Hub: its code is run, so a branch that can move is refused |
| MAX_SECONDS, MAX_MEGABYTES | the longest and the largest sound that is taken |
| KEEP_SECONDS | after so long at most an uploaded sound is erased, and when its page is closed |
| CONCURRENCY | how many sounds are worked on at a time; the others wait in the queue |

This file is the same in every Space of hf_speech; a test holds the copies equal.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import functools
import importlib
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Read when gradio and torch are imported. Uploads are written to a new folder, so that everything in it is the Space's
# own; it is removed with the server. Nothing is reported to anybody, and small recurrences are fastest on one thread.
if os.environ.get("GRADIO_TEMP_DIR"):
    Path(os.environ["GRADIO_TEMP_DIR"]).mkdir(parents=True, exist_ok=True)
os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(
    prefix="hf-speech-demo-", dir=os.environ.get("GRADIO_TEMP_DIR") or None
)
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import gradio as gr

from sound import SoundError

UPLOADS = Path(os.environ["GRADIO_TEMP_DIR"]).resolve()
atexit.register(shutil.rmtree, UPLOADS, ignore_errors=True)

HERE = Path(__file__).resolve().parent
COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# Never pickles: they would be run.
MODEL_FILES = ["*.json", "*.py", "*.safetensors", "*.txt", "language_model.arpa"]
APOLOGY = "Something went wrong here, and not through your sound: try again, or tell us."


class SettingsError(ValueError):
    """An environment with which the Space cannot start: one sentence with the remedy."""


@dataclass(frozen=True)
class Settings:
    """The environment, read and checked; see the table above."""

    model_id: str
    revision: str | None = None
    max_seconds: float = 300.0
    max_megabytes: float = 30.0
    keep_seconds: int = 300
    concurrency: int = 2

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Reads the variables.

        Raises:
            SettingsError: If one is missing or no sensible number.
        """
        model_id = environment.get("MODEL_ID", "").strip()
        if not model_id:
            if not (HERE / "model" / "config.json").is_file():
                raise SettingsError("Which model? Set MODEL_ID to a model folder or a Hub id (owner/name).")
            model_id = str(HERE / "model")
        values: dict[str, Any] = {}
        for name, convert in (
            ("max_seconds", float),
            ("max_megabytes", float),
            ("keep_seconds", int),
            ("concurrency", int),
        ):
            text = environment.get(name.upper(), "").strip()
            if text:
                try:
                    values[name] = convert(text)
                except ValueError:
                    values[name] = 0
                if not 0 < values[name] < 1e9:
                    raise SettingsError(f"{name.upper()} is {text!r}: give a number above 0.")
        return cls(model_id, environment.get("MODEL_REVISION", "").strip() or None, **values)

    def model_folder(self) -> Path:
        """The folder of the model, fetched from the Hub if it lies there.

        Raises:
            SettingsError: If there is no such model, or its revision is not pinned to a commit.
        """
        folder = Path(self.model_id).expanduser()
        if folder.is_dir():
            return folder.resolve()
        if not HUB_ID.fullmatch(self.model_id):
            raise SettingsError(f"There is no model folder {self.model_id}: check MODEL_ID.")
        if not COMMIT.fullmatch(self.revision or ""):
            raise SettingsError(
                f"MODEL_REVISION must be the commit of {self.model_id} (40 hexadecimal digits) and not "
                f"{self.revision!r}, for the code in it is run here."
            )
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(self.model_id, revision=self.revision, allow_patterns=MODEL_FILES))
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"{self.model_id} cannot be had from the Hub ({str(error).splitlines()[0]}): check name, commit and "
                "network."
            ) from error

    @property
    def erasing(self) -> tuple[int, int]:
        """How often gradio looks for uploads to erase, and how old these are, in seconds."""
        return max(self.keep_seconds // 10, 1), self.keep_seconds

    @property
    def model_name(self) -> str:
        """What the page calls the model; never a path of the server."""
        return Path(self.model_id).name if Path(self.model_id).expanduser().is_dir() else self.model_id


class Visits:
    """Which uploads belong to which open page, so that they are erased with it.

    gradio itself erases what is older than `keep_seconds`. Examples are nobody's, and stay.

    Args:
        interface: The interface, whose examples are known when a page is closed.
    """

    def __init__(self, interface: gr.Blocks) -> None:
        self._interface = interface
        self._files: dict[str, set[str]] = {}
        self._lock = threading.Lock()

    def remember(self, request: gr.Request | None, path: str | None) -> None:
        """Notes that a page has uploaded a file; a path that is not an upload is ignored."""
        if request is not None and request.session_hash and path and is_upload(path):
            with self._lock:
                self._files.setdefault(request.session_hash, set()).add(path)

    def forget(self, request: gr.Request) -> None:
        """Erases what a page that was closed has uploaded, unless another page has uploaded the same sound."""
        with self._lock:
            mine = self._files.pop(request.session_hash or "", set())
            others = set().union(*self._files.values())
        kept = set().union(*(block.keep_in_cache for block in self._interface.blocks.values()))
        for path in mine - others - kept:
            if is_upload(path):
                Path(path).unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # not empty: another sound of the same content
                    Path(path).parent.rmdir()


def is_upload(path: str) -> bool:
    """Whether a path is a file exactly where uploads are written: `UPLOADS/NAME/FILE`, without links."""
    file = Path(path)
    return file.is_file() and not file.is_symlink() and file.resolve() == file and file.parents[1] == UPLOADS


def examples(sound: gr.Audio) -> None:
    """The sounds that ship with the Space, to be clicked."""
    paths = sorted((HERE / "examples").glob("*.flac"))
    if paths:
        gr.Examples([[str(path)] for path in paths], [sound], example_labels=[path.stem for path in paths])
        # gradio would erase its copies of them as if they were uploads.
        sound.keep_in_cache.update(sound.temp_files)


def for_programs(function: Callable[..., Any]) -> Callable[..., Any]:
    """Lets an end point answer with one sentence where something is wrong, and never with a traceback."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except SoundError as error:
            raise gr.Error(str(error), print_exception=False) from None
        except Exception:
            traceback.print_exc()
            raise gr.Error(APOLOGY, print_exception=False) from None

    return guarded


def for_page(function: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    """What a function answers, or `{"error": sentence}`, which the page shows in the place of the answer."""
    try:
        return function(*args)
    except SoundError as error:
        return {"error": str(error)}
    except Exception:
        traceback.print_exc()
        return {"error": APOLOGY}


def theme() -> gr.themes.Base:
    """A theme that loads no fonts from elsewhere, in shades that are read easily (4.5:1 or more)."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif"]
    default = gr.themes.Default(
        primary_hue="blue", neutral_hue="slate", font=fonts, font_mono=["ui-monospace", "DejaVu Sans Mono", "monospace"]
    )
    return default.set(
        body_text_color_subdued="*neutral_500",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )


def serve(make: Callable[[Settings], gr.Blocks], settings: Settings | None = None) -> None:
    """Makes the interface and serves it until it is stopped.

    Args:
        make: What makes the interface.
        settings: What it is made with; the environment's without it.
    """
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--mcp", action="store_true", help="serve the end points as tools of an MCP server, too")
    parser.add_argument("--open", action="store_true", help="open the browser")
    parser.add_argument("--port", type=int, help="port (the first free one from 7860)")
    options = parser.parse_args()
    # A service that is stopped closes and erases, as one that is interrupted does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        settings = settings or Settings.from_environment()
        interface = make(settings)
    except SettingsError as error:
        sys.exit(f"error: {error}")
    threading.Thread(target=_import_beforehand, daemon=True).start()
    interface.queue(max_size=200, default_concurrency_limit=settings.concurrency)
    interface.launch(
        server_port=options.port,
        inbrowser=options.open,
        mcp_server=options.mcp or None,
        max_file_size=int(settings.max_megabytes * 2**20),
        show_error=False,
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        theme=theme(),
        css=(HERE / "page.css").read_text(encoding="utf-8"),
        footer_links=["api", "gradio"],
    )
    # Pages that are still open would hold the program back.
    shutil.rmtree(UPLOADS, ignore_errors=True)
    sys.stdout.flush()
    os._exit(0)


def _import_beforehand() -> None:
    """gradio imports matplotlib before its first answer, where it is installed: nobody should wait for that."""
    with contextlib.suppress(ImportError):
        importlib.import_module("matplotlib.pyplot")
