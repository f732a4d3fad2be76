"""Serves a Space: its interface behind the gate, with early imports and no state kept for closed sessions."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from settings import COMMON, Settings, SettingsError, space_folder  # Before gradio, which reads variables set in both.
from uploads import ROOT, Uploads

# isort: split
import gradio as gr
from starlette.middleware import Middleware

from calls import Page
from gate import Gate

# Sessions for which gradio keeps state (about 200 kB each) and unread answers (up to some MB each).
MAX_SESSIONS = 100
# Uploads stored at the same time, as a multiple of the largest allowed one.
_STORED_UPLOADS = 10
# The time in seconds after which an answer that is not fetched is dropped.
_MAX_ANSWER_AGE = 60.0


def new_uploads(settings: Settings) -> Uploads:
    """Returns the table of uploads, with the limits of the settings."""
    return Uploads(settings.keep_seconds, _STORED_UPLOADS * settings.max_megabytes * 2**20)


def examples(sound: gr.Audio, uploads: Uploads, chosen: list[Path]) -> None:
    """Adds buttons for example sounds: those published with the model, or else those of the Space.

    Args:
        sound: The component that a click fills.
        uploads: The table of uploads, which stores the examples.
        chosen: The examples of the Space that fit the model.
    """
    published = space_folder() / "model_examples"
    found = sorted(published.iterdir()) if published.is_dir() else chosen
    if not found:
        return
    gr.Markdown("Examples")
    with gr.Row(elem_classes="examples"):
        for path in found:
            button = gr.Button(path.stem, size="sm", min_width=0, scale=0)
            stored = uploads.add_example(path)
            button.click(lambda stored=stored: stored, None, sound, api_visibility="private", show_progress="hidden")


def theme() -> gr.themes.Base:
    """Returns a theme without remote fonts and with readable colors (contrast of at least 4.5:1)."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif"]
    default = gr.themes.Default(
        primary_hue="blue", neutral_hue="slate", font=fonts, font_mono=["ui-monospace", "DejaVu Sans Mono", "monospace"]
    )
    return default.set(
        body_text_color_subdued="*neutral_500",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )


def serve(make: Callable[[Settings], Page]) -> None:
    """Makes the interface and serves it until it is stopped."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--mcp", action="store_true", help="also serve the endpoints as tools of an MCP server")
    parser.add_argument("--open", action="store_true", help="open the browser")
    parser.add_argument("--port", type=int, help="port (the first free one from 7860)")
    options = parser.parse_args()
    # SIGTERM must clean up like an interrupt.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        settings = Settings.from_environment()
        interface = make(settings)
    except SettingsError as error:
        sys.exit(f"error: {error}")
    mcp = options.mcp or os.environ.get("GRADIO_MCP_SERVER", "").lower() == "true"
    _import_everything()
    gates: list[Gate] = []

    def gate(app: Any) -> Gate:
        functions, names = callable_functions(interface)
        gates.append(Gate(app, interface.uploads, settings.max_megabytes, functions, names, mcp))
        return gates[-1]

    interface.queue(max_size=200, default_concurrency_limit=settings.concurrency)
    threading.Thread(target=_keep_clean, args=(interface, gates, settings.keep_seconds), daemon=True).start()
    interface.launch(
        server_port=options.port,
        inbrowser=options.open,
        mcp_server=options.mcp or None,
        max_file_size=int(settings.max_megabytes * 2**20),
        state_session_capacity=MAX_SESSIONS,
        show_error=False,
        quiet=True,  # It would advertise share=True.
        prevent_thread_lock=True,
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        app_kwargs={"middleware": [Middleware(gate)]},
        theme=theme(),
        css=(COMMON / "page.css").read_text(encoding="utf-8"),
        footer_links=["api", "gradio"],
    )
    print(f"The page is served at {interface.local_url}", flush=True)
    if mcp:
        print(f"The MCP server is at {interface.local_url}gradio_api/mcp/", flush=True)
    interface.block_thread()
    # Open pages would keep the process from exiting.
    shutil.rmtree(ROOT, ignore_errors=True)
    sys.stdout.flush()
    os._exit(0)


def callable_functions(interface: gr.Blocks) -> tuple[set[int], set[str]]:
    """Returns the functions that clients may call, all except the handlers of closed pages, and the public names."""
    functions = {
        index: function
        for index, function in interface.fns.items()
        if not any(event == "unload" for _, event in function.targets)
    }
    public = (function for function in functions.values() if function.api_visibility == "public")
    return set(functions), {str(function.api_name) for function in public}


def _import_everything() -> None:
    """Imports what gradio imports on the first request, where simultaneous requests may find half-imported modules."""
    for name in ("matplotlib", "matplotlib.pyplot", "pandas", "PIL.Image"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _keep_clean(interface: Page, gates: list[Gate], keep_seconds: float) -> None:
    """Erases old uploads and drops the state of old sessions while the server runs."""
    while True:
        time.sleep(min(max(keep_seconds / 10, 0.5), 10))
        interface.uploads.sweep()
        for gate in gates:
            forget_sessions(interface, gate, keep_seconds)


def forget_sessions(interface: Page, gate: Gate, keep_seconds: float) -> None:
    """Drops gradio's state and unfetched answers of sessions without an open page."""
    now = time.monotonic()
    for session, seen in list(gate.last_seen.items()):
        if session not in gate.open_sessions and now - seen > max(keep_seconds, _MAX_ANSWER_AGE):
            gate.last_seen.pop(session, None)
    states, queue = interface.app.state_holder, interface._queue
    for session in list(states.session_data):
        used = gate.last_seen.get(session)
        last = states.time_last_used.get(session)
        idle = float("inf") if last is None else time.time() - last.timestamp()
        if session not in gate.open_sessions and (used is None or now - used > keep_seconds) and idle > keep_seconds:
            with states.lock:
                states.session_data.pop(session, None)
                states.time_last_used.pop(session, None)
    for session in list(queue.pending_messages_per_session):
        seen = gate.last_seen.setdefault(session, now)
        if session not in gate.open_sessions and now - seen > _MAX_ANSWER_AGE:
            queue.pending_messages_per_session.pop(session, None)
            for event in queue.pending_event_ids_session.pop(session, ()):
                queue.event_ids_to_events.pop(event, None)
