"""Dropping the state of old sessions, and which functions may be called."""

from __future__ import annotations

import datetime
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

gr = pytest.importorskip("gradio", reason="the Spaces need gradio: pip install 'hf_speech[demo]'")


def test_drops_sessions_without_an_open_page(space_module: Callable[[str, str], Any]) -> None:
    serving = space_module("classify", "serving")
    now, old = time.monotonic(), datetime.datetime.now() - datetime.timedelta(hours=2)
    names = ["open", "gone", "recent"]
    states = SimpleNamespace(
        session_data=dict.fromkeys(names), time_last_used=dict.fromkeys(names, old), lock=threading.Lock()
    )
    queue = SimpleNamespace(
        pending_messages_per_session=dict.fromkeys(names),
        pending_event_ids_session={name: {name} for name in names},
        event_ids_to_events=dict.fromkeys(names),
    )
    interface = SimpleNamespace(app=SimpleNamespace(state_holder=states), _queue=queue)
    gate = SimpleNamespace(
        open_sessions=Counter({"open": 1}), last_seen={"open": now - 999, "gone": now - 999, "recent": now - 1}
    )
    serving.forget_sessions(interface, gate, keep_seconds=30)
    assert set(states.session_data) == {"open", "recent"}
    assert set(gate.last_seen) >= {"open", "recent"}
    gate.last_seen["gone"] = now - 999
    serving.forget_sessions(interface, gate, keep_seconds=30)
    gate.last_seen = dict.fromkeys(gate.last_seen, now - 999)
    serving.forget_sessions(interface, gate, keep_seconds=30)
    assert set(states.session_data) == {"open"}


def test_drops_answers_that_are_not_fetched(space_module: Callable[[str, str], Any]) -> None:
    serving = space_module("classify", "serving")
    states = SimpleNamespace(session_data={}, time_last_used={}, lock=threading.Lock())
    queue = SimpleNamespace(
        pending_messages_per_session={"a": "answer", "b": "answer"},
        pending_event_ids_session={"a": {"1"}, "b": {"2"}},
        event_ids_to_events={"1": "event", "2": "event"},
    )
    interface = SimpleNamespace(app=SimpleNamespace(state_holder=states), _queue=queue)
    gate = SimpleNamespace(open_sessions=Counter(), last_seen={"a": time.monotonic() - 61, "b": time.monotonic() - 1})
    serving.forget_sessions(interface, gate, keep_seconds=300)
    assert set(queue.pending_messages_per_session) == {"b"}
    assert set(queue.event_ids_to_events) == {"2"}


def test_handlers_of_closed_pages_cannot_be_called(space_module: Callable[[str, str], Any]) -> None:
    serving = space_module("classify", "serving")
    with gr.Blocks(analytics_enabled=False) as interface:
        box, button = gr.Textbox(), gr.Button()
        button.click(lambda text: text, box, box, api_name="echo")
        button.click(lambda text: text, box, box, api_name="show", api_visibility="private")
        interface.unload(lambda: None)
    functions, names = serving.callable_functions(interface)
    assert len(interface.fns) == 3
    assert len(functions) == 2
    assert names == {"echo"}
