"""Speech to text in the browser, as an API, and as an MCP server. See README.md; `python app.py --help`."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any

if not Path(__file__).with_name("serving.py").is_file():  # In a checkout; publishing copies the files into this folder.
    sys.path += [str(Path(__file__).resolve().parents[1] / "common"), str(Path(__file__).resolve().parents[2] / "src")]

from serving import Settings, examples, new_uploads, serve  # Sets variables that gradio reads when it is imported.

# isort: split
import gradio as gr

import page
from calls import APOLOGY, Page, for_page, for_programs
from hf_speech.inference.examples import choose_examples
from recognizer import Listener
from sound import SoundError
from transcriber import MAX_FILES, WRITERS, Transcriber, piece_number

HERE = Path(__file__).resolve().parent
HINT = "Upload or record a sound, or choose an example: its words appear here, with their times and a player."


def make(settings: Settings) -> Page:
    """Returns the interface for the model in the settings."""
    uploads = new_uploads(settings)
    transcriber = Transcriber(settings.model_folder(), settings, uploads)
    with Page(uploads, title=settings.title or transcriber.about.name) as interface:
        predicate = "transcribes speech, with the time of each word"
        gr.Markdown(transcriber.about.heading(settings.title, predicate))
        with gr.Tab("A recording"):
            _recording_tab(transcriber, settings)
        with gr.Tab("Live"):
            _live_tab(transcriber)
        with gr.Tab("Several files"):
            _files_tab(transcriber)
        _endpoints(transcriber)

        def close(request: gr.Request) -> None:
            uploads.close_page(request.session_hash)

        interface.unload(close)
    return interface


def _language_model_switch(transcriber: Transcriber) -> gr.Checkbox:
    return gr.Checkbox(
        value=True,
        label="With the language model",
        info="Prefers probable words, and recognizes only words of its training text.",
        visible=transcriber.recognizer.beam_search is not None,
    )


def _recording_tab(transcriber: Transcriber, settings: Settings) -> None:
    def show(sound: str | None, language_model: bool, request: gr.Request) -> dict[str, Any] | None:
        transcriber.uploads.use(request.session_hash, sound)
        return for_page(transcriber.view, sound, language_model) if sound else None

    recognizer = transcriber.recognizer
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            sound = page.sound_input(settings)
            language_model = _language_model_switch(transcriber)
            examples(sound, transcriber.uploads, choose_examples(HERE, recognizer.tokens, recognizer))
        with gr.Column(scale=3, min_width=280):
            answer = page.result("Transcript", HINT)
    gr.on(
        [sound.change, language_model.input],
        show,
        [sound, language_model],
        answer,
        api_visibility="private",
        concurrency_id="model",
        show_progress="minimal",
    )


def _live_tab(transcriber: Transcriber) -> None:
    if not transcriber.recognizer.can_stream:
        gr.Markdown(
            "This model needs the whole recording, so it cannot transcribe live. "
            "A model trained with `bidirectional: false` and `causal: true` can."
        )
        return

    def listen(listener: Listener | None, event: gr.EventData) -> tuple[dict[str, Any], Listener | None]:
        piece = getattr(event, "_data", None)
        try:
            return transcriber.listen(piece, listener)
        except SoundError as error:
            message = str(error)
        except Exception:
            traceback.print_exc()
            message = APOLOGY
        return {"piece": piece_number(piece), "error": message}, None

    gr.Markdown(
        f"Press Record and speak for up to {page.readable(transcriber.settings.max_seconds)}: the text appears while "
        "you speak. The recording is never written to a file."
    )
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
        trigger_mode="multiple",  # live.js waits for each answer itself.
        api_visibility="private",
        concurrency_id="live",
        concurrency_limit=4,
        show_progress="hidden",
    )


def _files_tab(transcriber: Transcriber) -> None:
    def show(sounds: list[str] | None, language_model: bool, request: gr.Request) -> dict[str, Any]:
        for sound in sounds or []:
            transcriber.uploads.use(request.session_hash, sound)
        return for_page(transcriber.table, sounds, language_model)

    sounds = gr.File(file_count="multiple", label=f"Sounds, at most {MAX_FILES}", elem_id="sounds")
    language_model = _language_model_switch(transcriber)
    button = gr.Button("Transcribe all", variant="primary", interactive=False)
    answer = page.result("Transcripts", "The text of each file appears here in a table.", elem_id="transcripts")
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    # Enables the button only after a change of the files or the switch.
    gr.on(
        [sounds.change, language_model.input],
        lambda sounds: gr.Button(interactive=bool(sounds)),
        sounds,
        button,
        **private,
    )
    transcribed = button.click(
        show, [sounds, language_model], answer, api_name="show_files", api_visibility="private", concurrency_id="model"
    )
    transcribed.then(lambda: gr.Button(interactive=False), None, button, **private)


def _endpoints(transcriber: Transcriber) -> None:
    """Adds the endpoints for programs, which are listed under "Use via API" and are the tools of the MCP server."""
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
