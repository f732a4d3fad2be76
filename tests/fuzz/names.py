"""Hostile names of classes, speakers, files and corpora, in training, Spaces, subtitles and explorations.

One corpus contains all names, each as a class, as a speaker and, if the file system allows it, as a file. All commands
are run once for it; each case then looks for one name in all output.
"""

from __future__ import annotations

import atexit
import contextlib
import csv
import io
import json
import os
import re
import sys
import urllib.request
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import soundfile
import yaml
from markdown_it import MarkdownIt

from hf_speech.cli.app import main
from hf_speech.common.text import one_line
from hf_speech.decoding.hypothesis import Hypothesis, Word
from hf_speech.decoding.subtitles import make_cues, to_json, to_srt, to_vtt
from hf_speech.demo import spaces_dir, start_space
from hf_speech.publishing import check_card, render_card
from hf_speech.publishing.checks.markup import problems

RATE = 8000
NAMES: list[str] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
RECIPE = {
    "name": "names",
    "task": "audio-classification",
    "features": {"sampling_rate": RATE, "num_mel_bins": 16, "normalization": "none"},
    "augmentation": {},
    "model": {"hidden_size": 8, "num_hidden_layers": 1},
    "training": {"max_steps": 1, "per_device_train_batch_size": 64, "dataloader_num_workers": 0, "report_to": "none"}
    | {"load_best_model_at_end": False},
}


class Names:
    """Cases that look for one name in all output for a corpus with all names.

    Args:
        folder: The output folder.

    Attributes:
        declared: Empty, because nothing may be rejected.
    """

    declared = ()

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "names"
        self.run_dir, self.explored = self.folder / "run", self.folder / "explored"
        self.files = self._write_corpus()
        recipe = str(self.folder / "names.yaml")
        _command("train", recipe, "--output_dir", str(self.run_dir))
        _command("evaluate", str(self.run_dir), "--split", "test", "--output", str(self.folder / "again.json"))
        _command("explore", recipe, "--output", str(self.explored), "--examples", "1")
        shown = _command("publish", str(self.run_dir), "--repo_id", "someone/names", "--dry_run")
        assert not _obeyed_by_a_terminal(shown)
        paths = [str(self.folder / file) for file in dict.fromkeys(self.files.values())]
        answers = _command("classify", str(self.run_dir), *paths)
        self.answered = answers
        self.config = json.loads((self.run_dir / "config.json").read_text(encoding="utf-8"))
        self.report = json.loads((self.run_dir / "evaluation" / "test.json").read_text(encoding="utf-8"))
        with (self.run_dir / "evaluation" / "test.csv").open(encoding="utf-8", newline="") as stream:
            self.rows = list(csv.DictReader(stream))
        self.card = render_card(self.run_dir, repo_id="someone/names")
        self.card_text = _shown_by_markdown(self.card)
        page = (self.explored / "index.html").read_text(encoding="utf-8")
        assert not _obeyed_by_a_terminal(page)
        self.page = _Page.read(page)
        assert not self.page.handlers, self.page.handlers
        self._ask_the_space()

    def run(self, rng: Random) -> None:
        """Runs a case: reads a name back from all output, and checks that nothing in it is executed.

        Raises:
            AssertionError: If the name is missing, changed or interpreted.
        """
        name = rng.choice(NAMES)
        try:
            self._check(name)
        except AssertionError as error:
            error.add_note(f"the name {name!r}")
            raise

    def _check(self, name: str) -> None:
        assert name in self.config["label2id"], "not a label of the model"
        assert name in self.report["per_class"], "not a class of the evaluation"
        assert name in self.report["per_speaker"], "not a speaker of the evaluation"
        row = next(row for row in self.rows if _sheet(row["reference"]) == name)
        assert _sheet(row["speaker"]) == name, "not a speaker in the table"
        assert not row["reference"].startswith(("=", "+", "-", "@")) or _is_number(name), "computed by a spreadsheet"
        if name in self.files:
            assert _sheet(row["path"]) == Path(self.files[name]).name, "not a file in the table"
        assert name in self.described["labels"], "not a label of the Space"
        assert one_line(name) in self.page.text, "not on the explored page"
        self._check_corpus_name(name)
        _check_subtitles(name)

    def _check_corpus_name(self, name: str) -> None:
        recipe_file = self.run_dir / "recipe.yaml"
        written = recipe_file.read_text(encoding="utf-8")
        recipe = yaml.safe_load(written)
        recipe["corpus"]["title"] = name
        try:
            recipe_file.write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
            card = render_card(self.run_dir, repo_id="someone/names")
            check_card(card, self.run_dir)
        finally:
            recipe_file.write_text(written, encoding="utf-8")
        assert not list(problems(card))
        assert one_line(name) in _shown_by_markdown(card), "not the corpus on the card"

    def _write_corpus(self) -> dict[str, str]:
        """Writes sounds, table and recipe, and returns the file of each name that is a valid file name."""
        (self.folder / "sounds").mkdir(parents=True)
        rng = np.random.default_rng(0)
        files = {}
        with (self.folder / "clips.csv").open("w", encoding="utf-8", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(["path", "label", "speaker", "split"])
            for number, name in enumerate(NAMES):
                for split in ("train", "test"):
                    file = f"{split}-{number}.wav"
                    if split == "test" and not set("/\0\n\r\\") & set(name) and len(name.encode()) <= 200:
                        file = files[name] = f"{name}.wav"
                    sound = rng.normal(0, 0.1, RATE // 5)
                    soundfile.write(self.folder / "sounds" / file, sound, RATE, format="WAV")
                    table.writerow([f"sounds/{file}", name, name, split])
        corpus = {"name": "csv", "data_dir": str(self.folder), "train_file": "clips.csv", "split_column": "split"}
        corpus |= {"label_column": "label", "speaker_column": "speaker", "validation_fraction": 0}
        recipe = RECIPE | {"corpus": corpus}
        (self.folder / "names.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
        return {name: f"sounds/{file}" for name, file in files.items()}

    def _ask_the_space(self) -> None:
        """Reads the page and the description of the model's Space."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GRADIO_", "MODEL_"))}
        variables = {**kept, "MODEL_ID": str(self.run_dir), "GRADIO_TEMP_DIR": str(self.folder / "uploads")}
        app = spaces_dir() / "classify" / "app.py"
        space = start_space(app, self.folder / "space.log", environment=variables)
        atexit.register(space.stop)
        space.wait()
        page = _Page.read(_get(space.url + "/"))
        assert not page.handlers, page.handlers
        config = json.loads(_get(space.url + "/config"))
        for component in config["components"]:
            if component["type"] == "markdown":
                assert not list(problems(component["props"]["value"])), component["props"]["value"][:300]
        number = next(item["id"] for item in config["dependencies"] if item["api_name"] == "describe")
        body = {"data": [], "fn_index": number, "session_hash": "names"}
        _get(f"{space.url}/gradio_api/queue/join", json.dumps(body).encode())
        for line in _get(f"{space.url}/gradio_api/queue/data?session_hash=names").split("\n"):
            event = json.loads(line[5:]) if line.startswith("data:") else {}
            if event.get("msg") == "process_completed":
                self.described = event["output"]["data"][0]
        space.stop()


class _Page(HTMLParser):
    """Parses a web page into its text and its active elements."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.handlers: list[tuple[str, str, str | None]] = []

    @classmethod
    def read(cls, html: str) -> _Page:
        page = cls()
        page.feed(html)
        page.close()
        return page

    @property
    def text(self) -> str:
        return " ".join("".join(self.pieces).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for attribute, value in attrs:
            self.pieces.append(f" {value} ")
            address = attribute in ("href", "src", "action", "formaction", "srcset", "data")
            if attribute.startswith("on") or (address and (value or "").lower().strip().startswith("javascript:")):
                self.handlers.append((tag, attribute, value))

    def handle_data(self, data: str) -> None:
        if data.strip() == "alert(1)":
            self.handlers.append(("script", "", data))
        self.pieces.append(data)


def _command(*words: str) -> str:
    """Returns the output of a command, which must succeed."""
    output, errors = io.StringIO(), io.StringIO()
    argv = sys.argv
    sys.argv = ["hf-speech"]
    code: Any = 0
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            main(list(words))
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = argv
    assert not code, f"{words[0]}: exit status {code}: {errors.getvalue()[-1500:]}"
    return output.getvalue()


def _obeyed_by_a_terminal(text: str) -> list[str]:
    return re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)


def _get(url: str, body: bytes | None = None) -> str:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(answer.read().decode())


def _shown_by_markdown(markdown: str) -> str:
    """Returns the visible text of a card."""
    body = re.sub(r"\A---\n.*?\n---\n", "", markdown, flags=re.S)
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    return "\n".join(
        "".join(child.content for child in token.children or []) for token in tokens if token.type == "inline"
    )


def _sheet(cell: str) -> str:
    """Returns a table cell without the escape for spreadsheets."""
    return cell[1:] if re.match(r"'[=+\-@\t\r]", cell) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_subtitles(name: str) -> None:
    """Checks that subtitles of a name contain it and no further cues or commands."""
    words = [Word(text, 0.5 * index, 0.5 * index + 0.4, 0.9, ()) for index, text in enumerate(name.split())]
    cues = make_cues(words)
    assert json.loads(to_json(words, file=name, nbest=[Hypothesis(name, -1.0, tuple(words), ())]))["file"] == name
    for text, point in ((to_srt(cues), ","), (to_vtt(cues), ".")):
        times = re.findall(rf"^\d\d:\d\d:\d\d\{point}\d\d\d --> \d\d:\d\d:\d\d\{point}\d\d\d$", text, re.MULTILINE)
        assert len(times) == len(cues), text
    vtt = to_vtt(cues)
    assert vtt.count("-->") == len(cues), vtt
