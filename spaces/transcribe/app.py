"""Speech to text in the browser, as an API, and as an MCP server. See README.md; `python app.py --help`."""

from __future__ import annotations

import traceback
from typing import Any

from serving import (  # Sets what gradio reads when imported.
    APOLOGY,
    HERE,
    Settings,
    Visits,
    examples,
    for_page,
    for_programs,
    serve,
)

# isort: split
import gradio as gr

import page
from recognizer import Listener, Recognizer
from sound import SoundError
from subtitles import WRITERS
from transcriber import MOST_FILES, Transcriber


def make(settings: Settings) -> gr.Blocks:
    """The interface of the model that the settings name."""
    recognizer = Recognizer(settings.model_folder())
    transcriber = Transcriber(recognizer, settings)
    with gr.Blocks(title="Speech to text", analytics_enabled=False, delete_cache=settings.erasing) as interface:
        visits = Visits(interface)
        gr.Markdown(f"# Speech to text\n`{settings.model_name}` writes what is said, word by word, with times.")
        with gr.Tab("A recording"):
            _recording_tab(transcriber, visits)
        with gr.Tab("Live"):
            _live_tab(transcriber)
        with gr.Tab("Several files"):
            _files_tab(transcriber, visits)
        gr.Markdown(
            page.fine_print(settings.max_seconds, settings.max_megabytes, settings.keep_seconds),
            elem_classes="fine-print",
        )
        _end_points(transcriber)
        interface.unload(visits.forget)
    return interface


def _language_model_switch(transcriber: Transcriber) -> gr.Checkbox:
    return gr.Checkbox(
        label="With the language model",
        info="Prefers likely words, and knows only those of its training text.",
        visible=transcriber.recognizer.has_language_model,
    )


def _recording_tab(transcriber: Transcriber, visits: Visits) -> None:
    def show(sound: str | None, language_model: bool, request: gr.Request) -> dict[str, Any]:
        visits.remember(request, sound)
        return for_page(transcriber.view, sound, language_model)

    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            sound = gr.Audio(
                sources=["upload", "microphone"],
                type="filepath",
                label="Sound",
                editable=False,
                buttons=[],
                elem_id="sound",
            )
            language_model = _language_model_switch(transcriber)
            button = gr.Button("Transcribe", variant="primary")
            examples(sound)
        with gr.Column(scale=3, min_width=320):
            answer = page.result("Transcript")

    def refresh(sound: str | None, language_model: bool, request: gr.Request) -> dict[str, Any] | None:
        return show(sound, language_model, request) if sound else None

    asked: dict[str, Any] = {
        "inputs": [sound, language_model],
        "outputs": answer,
        "api_visibility": "private",
        "concurrency_id": "model",
        "show_progress": "minimal",
    }
    button.click(show, **asked)
    gr.on([sound.change, language_model.input], refresh, **asked)


def _live_tab(transcriber: Transcriber) -> None:
    if not transcriber.recognizer.can_stream:
        gr.Markdown(
            "This model reads a recording to its end before it answers, so it cannot listen live. "
            "One that is trained with `bidirectional: false` and `causal: true` can."
        )
        return

    def listen(listener: Listener | None, event: gr.EventData) -> tuple[dict[str, Any], Listener | None]:
        try:
            return transcriber.listen(event._data, listener)
        except SoundError as error:
            message = str(error)
        except Exception:
            traceback.print_exc()
            message = APOLOGY
        return {"piece": event._data.get("piece"), "error": message}, None

    gr.Markdown("Press, and speak: the text grows while you do. It is what the model says of the whole recording.")
    live = gr.HTML(
        value=None,
        label="Live",
        html_template=(HERE / "live.html").read_text(encoding="utf-8"),
        js_on_load=(HERE / "live.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        elem_id="live",
    )
    listener = gr.State(None)
    live.submit(
        listen,
        [listener],
        [live, listener],
        trigger_mode="multiple",  # live.js waits for the answer by itself.
        api_visibility="private",
        concurrency_id="live",
        concurrency_limit=4,
        show_progress="hidden",
    )


def _files_tab(transcriber: Transcriber, visits: Visits) -> None:
    def table(sounds: list[str] | None, language_model: bool, request: gr.Request) -> list[list[str]]:
        for sound in sounds or []:
            visits.remember(request, sound)
        answers = for_programs(transcriber.transcribe_files)(sounds or [], language_model)
        return [
            [
                answer["file"],
                f"{answer['duration']:.1f} s" if "duration" in answer else "",
                answer.get("error", answer.get("text", "")),
            ]
            for answer in answers
        ]

    sounds = gr.File(file_count="multiple", label=f"Sounds, {MOST_FILES} at most", elem_id="sounds")
    language_model = _language_model_switch(transcriber)
    button = gr.Button("Transcribe all", variant="primary")
    rows = gr.Dataframe(
        headers=["file", "length", "text"], interactive=False, wrap=True, label="Transcripts", elem_id="transcripts"
    )
    button.click(table, [sounds, language_model], rows, api_visibility="private", concurrency_id="model")


def _end_points(transcriber: Transcriber) -> None:
    """What programs call: documented on the page under "Use via API", and the tools of the MCP server."""
    with gr.Row(visible=False):
        sound = gr.Audio(type="filepath", label="sound")
        sounds = gr.File(file_count="multiple", label="sounds")
        language_model = gr.Checkbox(label="language_model")
        format = gr.Dropdown(list(WRITERS), value="srt", label="format")
        data, text, call = gr.JSON(), gr.Textbox(), gr.Button()
    for function, inputs, output in (
        (transcriber.transcribe, [sound, language_model], data),
        (transcriber.subtitles, [sound, format, language_model], text),
        (transcriber.transcribe_files, [sounds, language_model], data),
        (transcriber.describe, [], data),
    ):
        call.click(for_programs(function), inputs, output, api_name=function.__name__, concurrency_id="model")


if __name__ == "__main__":
    serve(make)
