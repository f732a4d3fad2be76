"""Speech to text in the browser, as an API, and as an MCP server. See README.md; `python app.py --help`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from serving import HERE, Settings, Visits, for_page, for_programs, serve  # noqa: I001 - sets what gradio reads first

import gradio as gr
import page
import soundfile
from decoding import Word
from recogniser import Listener, Recogniser
from sound import SoundError, is_silent, read_sound, readable
from subtitles import make_cues, to_json, to_srt, to_vtt

WRITERS = {
    "txt": lambda words: " ".join(word.text for word in words) + "\n",
    "srt": lambda words: to_srt(make_cues(words)),
    "vtt": lambda words: to_vtt(make_cues(words)),
    "json": to_json,
}
MOST_FILES = 20


class Transcriber:
    """What the page and the end points ask for.

    Args:
        recogniser: The model.
        settings: The limits.
    """

    def __init__(self, recogniser: Recogniser, settings: Settings) -> None:
        self.recogniser, self.settings = recogniser, settings

    def read(self, sound: str | None) -> Any:
        """The samples of an uploaded file."""
        if not sound:
            raise SoundError("There is no sound yet: upload one, or record it.")
        return read_sound(sound, self.recogniser.rate, self.settings.max_seconds, self.settings.max_megabytes)

    def view(self, sound: str | None, language_model: bool) -> dict[str, Any]:
        """What the page shows of a file."""
        samples = self.read(sound)
        words = self.recogniser.words(samples, language_model)
        recogniser, name = self.recogniser, Path(str(sound)).name
        features = recogniser.features(samples)
        answer = page.view(name, samples, recogniser.rate, features, page.describe_features(recogniser.extractor))
        answer["words"] = [
            [word.text, round(word.start, 3), round(word.end, 3), round(word.confidence, 3)] for word in words
        ]
        if words:
            answer["files"] = {extension: write(words) for extension, write in WRITERS.items()}
        else:
            silent = is_silent(samples)
            answer["note"] = "The recording is silent: check the microphone." if silent else "No words were heard."
        return answer

    def listen(self, piece: str | None, listener: Listener | None) -> tuple[str, Listener | None]:
        """Hears a piece of the live microphone: the text so far, and what remembers it."""
        if not piece:
            return (listener.text if listener else ""), listener
        listener = listener or self.recogniser.listen()
        try:
            samples, rate = soundfile.read(piece, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise SoundError("The browser sends sound that cannot be read here: take another browser.") from error
        finally:
            Path(piece).unlink(missing_ok=True)
        if listener.seconds > self.settings.max_seconds:
            return (
                f"{listener.text}\n(That was {readable(self.settings.max_seconds)}, the most: stop and begin anew.)",
                listener,
            )
        return listener.accept(samples, rate), listener

    def transcribe(self, sound: str, language_model: bool = False) -> dict[str, Any]:
        """Writes what is said in a sound file, with the times of the words and how sure the model is of each.

        Args:
            sound: The sound file: wav, flac, ogg, opus, mp3 or aiff, of any sampling rate and number of channels.
            language_model: Whether to decode with the model's language model, if it has one.

        Returns:
            text, duration in seconds, and words with text, start, end (seconds) and confidence (0 to 1).
        """
        samples = self.read(sound)
        return _as_data(self.recogniser.words(samples, language_model), len(samples) / self.recogniser.rate)

    def subtitles(self, sound: str, format: str = "srt", language_model: bool = False) -> str:
        """Writes what is said in a sound file as subtitles.

        Args:
            sound: The sound file.
            format: srt, vtt, txt or json.
            language_model: Whether to decode with the model's language model, if it has one.

        Returns:
            The content of the file.
        """
        if format not in WRITERS:
            raise SoundError(f"There is no format {format!r}: choose {', '.join(WRITERS)}.")
        return WRITERS[format](self.recogniser.words(self.read(sound), language_model))

    def transcribe_files(self, sounds: list[str], language_model: bool = False) -> list[dict[str, Any]]:
        """Writes what is said in several sound files; one that cannot be read does not keep the others from it.

        Args:
            sounds: The sound files.
            language_model: Whether to decode with the model's language model, if it has one.

        Returns:
            For each file its name and what `transcribe` gives, or its name and an error.
        """
        if not sounds:
            raise SoundError("There is no sound yet: upload some.")
        if len(sounds) > MOST_FILES:
            raise SoundError(f"These are {len(sounds)} files, and {MOST_FILES} are the most at a time: give fewer.")
        answers = []
        for sound in sounds:
            try:
                answer = self.transcribe(sound, language_model)
            except SoundError as error:
                answer = {"error": str(error)}
            answers.append({"file": Path(sound).name, **answer})
        return answers

    def describe(self) -> dict[str, Any]:
        """Says which model answers here, what it can do, and the limits.

        Returns:
            model, revision, task, sampling rate, abilities and limits.
        """
        return {
            "model": self.settings.model_name,
            "revision": self.settings.revision,
            "task": "automatic-speech-recognition",
            "sampling_rate": self.recogniser.rate,
            "streams": self.recogniser.can_stream,
            "language_model": self.recogniser.has_language_model,
            "max_seconds": self.settings.max_seconds,
            "max_megabytes": self.settings.max_megabytes,
            "max_files": MOST_FILES,
        }


def _as_data(words: list[Word], duration: float) -> dict[str, Any]:
    """A transcript as plain data."""
    content: dict[str, Any] = json.loads(to_json(words))
    return {"text": content["text"], "duration": round(duration, 3), "words": content["words"]}


def make(settings: Settings) -> gr.Blocks:
    """The interface of the model that the settings name."""
    recogniser = Recogniser(settings.model_folder())
    transcriber = Transcriber(recogniser, settings)
    # gradio looks for what is older at every interval.
    cleaning = (max(settings.keep_seconds // 10, 1), settings.keep_seconds)
    with gr.Blocks(title="Speech to text", analytics_enabled=False, delete_cache=cleaning) as interface:
        visits = Visits(interface)
        gr.Markdown(f"# Speech to text\n`{settings.model_name}` writes what is said, word by word, with times.")
        with gr.Tab("A recording"):
            _recording_tab(transcriber, visits)
        with gr.Tab("Live"):
            _live_tab(transcriber)
        with gr.Tab("Several files"):
            _files_tab(transcriber, visits)
        gr.Markdown(
            f"Sounds up to {readable(settings.max_seconds)} and {settings.max_megabytes:g} MB: wav, flac, ogg, opus, mp3, "
            "aiff. They are erased when you close the page, and "
            f"after {readable(settings.keep_seconds)} at the latest; nothing is recorded about you.",
            elem_classes="fine-print",
        )
        _end_points(transcriber)
        interface.unload(visits.forget)
    return interface


def _language_model_switch(transcriber: Transcriber) -> gr.Checkbox:
    return gr.Checkbox(
        label="With the language model",
        info="Prefers likely words, and knows only those of its training text.",
        visible=transcriber.recogniser.has_language_model,
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
            gr.Examples([[str(path)] for path in sorted((HERE / "examples").glob("*.flac"))], [sound], label="Examples")
        with gr.Column(scale=3, min_width=320):
            answer = page.result("Transcript")
    gr.on(
        [button.click, sound.input, language_model.input],
        show,
        [sound, language_model],
        answer,
        api_visibility="private",
        concurrency_id="model",
        show_progress="minimal",
    )


def _live_tab(transcriber: Transcriber) -> None:
    if not transcriber.recogniser.can_stream:
        gr.Markdown(
            "This model reads a recording to its end before it answers, so it cannot listen live. "
            "One that is trained with `bidirectional: false` and `causal: true` can."
        )
        return

    def finish(listener: Listener | None) -> tuple[str, None]:
        return (listener.finish() if listener else ""), None

    gr.Markdown(
        "Press record and speak: the text grows while you do. It is exactly what the model says of the whole recording."
    )
    microphone = gr.Audio(
        sources=["microphone"], type="filepath", streaming=True, label="Microphone", elem_id="microphone"
    )
    text = gr.Textbox(
        label="What was heard",
        lines=4,
        interactive=False,
        buttons=["copy"],
        elem_classes="live-text",
        elem_id="live-text",
    )
    listener = gr.State(None)
    microphone.start_recording(lambda: ("", None), None, [text, listener], api_visibility="private", queue=False)
    microphone.stream(
        for_programs(transcriber.listen),
        [microphone, listener],
        [text, listener],
        stream_every=0.4,
        time_limit=transcriber.settings.max_seconds,
        api_visibility="private",
        concurrency_id="live",
        concurrency_limit=8,  # A slot is held while somebody speaks.
        show_progress="hidden",
    )
    microphone.stop_recording(finish, [listener], [text, listener], api_visibility="private", concurrency_id="model")


def _files_tab(transcriber: Transcriber, visits: Visits) -> None:
    def table(sounds: list[str] | None, language_model: bool, request: gr.Request) -> list[list[str]]:
        for sound in sounds or []:
            visits.remember(request, sound)
        answers = for_programs(transcriber.transcribe_files)(sounds or [], language_model)
        return [
            [
                answer["file"],
                f"{answer['duration']:.1f}" if "duration" in answer else "",
                answer.get("error", answer.get("text", "")),
            ]
            for answer in answers
        ]

    sounds = gr.File(file_count="multiple", label=f"Sounds, {MOST_FILES} at most", elem_id="sounds")
    language_model = _language_model_switch(transcriber)
    button = gr.Button("Transcribe all", variant="primary")
    rows = gr.Dataframe(
        headers=["file", "seconds", "text"], interactive=False, wrap=True, label="Transcripts", elem_id="transcripts"
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
