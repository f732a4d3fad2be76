"""Sounds to labels in the browser, as an API, and as an MCP server. See README.md; `python app.py --help`."""

from __future__ import annotations

from typing import Any

from serving import Settings, Visits, examples, for_page, for_programs, serve  # Sets what gradio reads when imported.

# isort: split
import gradio as gr

import page
from classifier import MOST_FILES, Classifier


def make(settings: Settings) -> gr.Blocks:
    """The interface of the model that the settings name."""
    classifier = Classifier(settings.model_folder(), settings)
    with gr.Blocks(title="What is heard?", analytics_enabled=False, delete_cache=settings.erasing) as interface:
        visits = Visits(interface)
        some = ", ".join(classifier.labels[:12]) + (", ..." if len(classifier.labels) > 12 else "")
        gr.Markdown(f"# What is heard?\n`{settings.model_name}` says which of its labels a sound belongs to: {some}.")
        _page(classifier, visits)
        gr.Markdown(
            page.fine_print(settings.max_seconds, settings.max_megabytes, settings.keep_seconds),
            elem_classes="fine-print",
        )
        _end_points(classifier)
        interface.unload(visits.forget)
    return interface


def _page(classifier: Classifier, visits: Visits) -> None:
    def show(
        sound: str | None, rows: list[list[str]], request: gr.Request
    ) -> tuple[dict[str, Any], list[list[str]], list[list[str]]]:
        visits.remember(request, sound)
        answer = for_page(classifier.view, sound)
        if "labels" in answer:
            label, probability = answer["labels"][0]
            row = [answer["name"], f"{answer['duration']:.1f} s", label, f"{100 * probability:.1f} %"]
            rows = [row, *rows][:100]
        return answer, rows, rows

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
            button = gr.Button("Classify", variant="primary")
            examples(sound)
        with gr.Column(scale=3, min_width=320):
            answer = page.result("Labels")
    history = gr.State([])
    table = gr.Dataframe(
        headers=["file", "length", "label", "sure"],
        interactive=False,
        wrap=True,
        label="This session",
        elem_id="history",
    )
    with gr.Row():
        clear = gr.Button("Forget the session", size="sm", scale=0, min_width=180)

    def refresh(
        sound: str | None, rows: list[list[str]], request: gr.Request
    ) -> tuple[dict[str, Any] | None, list[list[str]], list[list[str]]]:
        return show(sound, rows, request) if sound else (None, rows, rows)

    asked: dict[str, Any] = {
        "inputs": [sound, history],
        "outputs": [answer, history, table],
        "api_visibility": "private",
        "concurrency_id": "model",
        "show_progress": "minimal",
    }
    button.click(show, **asked)
    sound.change(refresh, **asked)
    clear.click(lambda: ([], []), None, [history, table], api_visibility="private", queue=False)


def _end_points(classifier: Classifier) -> None:
    """What programs call: documented on the page under "Use via API", and the tools of the MCP server."""
    with gr.Row(visible=False):
        sound = gr.Audio(type="filepath", label="sound")
        sounds = gr.File(file_count="multiple", label=f"sounds, {MOST_FILES} at most")
        top_k = gr.Number(5, precision=0, label="top_k")
        data, call = gr.JSON(), gr.Button()
    for function, inputs in (
        (classifier.classify, [sound, top_k]),
        (classifier.classify_files, [sounds, top_k]),
        (classifier.describe, []),
    ):
        call.click(for_programs(function), inputs, data, api_name=function.__name__, concurrency_id="model")


if __name__ == "__main__":
    serve(make)
