"""Sound classification in the browser, as an API, and as an MCP server. See README.md; `python app.py --help`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if not Path(__file__).with_name("serving.py").is_file():  # In a checkout; publishing copies the files into this folder.
    sys.path += [str(Path(__file__).resolve().parents[1] / "common"), str(Path(__file__).resolve().parents[2] / "src")]

from serving import Settings, examples, new_uploads, serve  # Sets variables that gradio reads when it is imported.

# isort: split
import gradio as gr

import page
from calls import Page, for_page, for_programs
from classifier import MAX_TOP_K, Classifier
from gate import MAX_FILES
from hf_speech.common.text import escape_markdown

HINT = "Upload or record a sound, or choose an example: the labels and their probabilities appear here."


def make(settings: Settings) -> Page:
    """Returns the interface for the model in the settings."""
    uploads = new_uploads(settings)
    classifier = Classifier(settings.model_folder(), settings, uploads)
    with Page(uploads, title=settings.title or classifier.about.name) as interface:
        shown = ", ".join(classifier.labels[:12]) + (", ..." if len(classifier.labels) > 12 else "")
        predicate = f"assigns one of {len(classifier.labels)} labels: {escape_markdown(shown)}"
        gr.Markdown(classifier.about.heading(settings.title, predicate))
        _page(classifier, settings)
        _endpoints(classifier)

        def close(request: gr.Request) -> None:
            uploads.close_page(request.session_hash)

        interface.unload(close)
    return interface


def _page(classifier: Classifier, settings: Settings) -> None:
    def show(sound: str | None, request: gr.Request) -> dict[str, Any] | None:
        classifier.uploads.use(request.session_hash, sound)
        return for_page(classifier.view, sound) if sound else None

    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            sound = page.sound_input(settings)
            own = sorted((Path(__file__).parent / "examples").glob("*.flac"))
            examples(sound, classifier.uploads, [path for path in own if path.stem in classifier.labels])
        with gr.Column(scale=3, min_width=280):
            answer = page.result("Labels", HINT)
    sound.change(show, sound, answer, api_visibility="private", concurrency_id="model", show_progress="minimal")


def _endpoints(classifier: Classifier) -> None:
    """Adds the endpoints for programs, which are listed under "Use via API" and are the tools of the MCP server."""
    with gr.Row(visible=False):
        sound = gr.Audio(type="filepath", label="sound")
        sounds = gr.File(file_count="multiple", label=f"sounds, at most {MAX_FILES}")
        top_k = gr.Number(5, precision=0, minimum=1, maximum=MAX_TOP_K, label="top_k")
        data, call = gr.JSON(), gr.Button()
    for function, inputs in (
        (classifier.classify, [sound, top_k]),
        (classifier.classify_files, [sounds, top_k]),
        (classifier.describe, []),
    ):
        call.click(for_programs(function), inputs, data, api_name=function.__name__, concurrency_id="model")


if __name__ == "__main__":
    serve(make)
