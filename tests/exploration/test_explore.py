"""Explorations: the folder, the page, bad files, and errors."""

from __future__ import annotations

import csv
import json
import runpy
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
import soundfile
from command_line import run

from hf_speech.errors import CorpusError, HFSpeechError, RecipeError
from hf_speech.exploration import Exploration, examples, explore
from hf_speech.exploration.page import describe_features, format_duration
from hf_speech.models import SpeechFeatureExtractor
from hf_speech.training import load_recipe

REPOSITORY = Path(__file__).resolve().parents[2]
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Parses a page into links, text and tags; raises for tags that do not match."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.links += [values[name] or "" for name in ("href", "src") if name in values]
        if tag == "img":
            self.images.append(values)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.words += " " if tag in ("td", "th", "li") else ""

    def handle_data(self, data: str) -> None:
        self.words += data if not self.open or self.open[-1] != "style" else ""

    @property
    def text(self) -> str:
        return " ".join(self.words.split())


def tones(digit_folder: Path, *overrides: str):
    """Returns a recipe for a folder of tones."""
    values = {
        "name": "tones",
        "corpus": {"name": "folder", "data_dir": str(digit_folder), "speaker_pattern": "(speaker[0-9])_"},
        "features": {"sampling_rate": 8000, "num_mel_bins": 16, "hop_length": 80, "win_length": 200},
        "model": {"hidden_size": 8, "num_hidden_layers": 1},
    }
    return load_recipe(values, overrides)


@pytest.mark.parametrize("name", ["explored_tones", "explored_beeps"])
def test_all_links_of_the_page_are_local_and_valid(name: str, request: pytest.FixtureRequest):
    exploration: Exploration = request.getfixturevalue(name)
    page = Page(exploration.page)
    local = [link for link in page.links if not link.startswith("https://")]
    assert all((exploration.folder / unquote(link)).exists() for link in local)
    assert [link for link in page.links if link.startswith("http")] in ([], [exploration_homepage(page)])
    linked = {exploration.folder / unquote(link) for link in local if not link.endswith("/")}
    written = {path for path in exploration.folder.rglob("*") if path.is_file()}
    assert linked == written - {exploration.page}
    assert all(image["alt"] for image in page.images)
    content = exploration.page.read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in content
    assert 'name="viewport"' in content
    assert "<script" not in content
    assert "@import" not in content
    assert "url(" not in content


def exploration_homepage(page: Page) -> str:
    """The only external link is the homepage of the corpus."""
    return next((link for link in page.links if link.startswith("https://")), "")


def test_writes_the_folder_of_a_classification_corpus(explored_tones: Exploration, digit_folder: Path):
    folder = explored_tones.folder
    assert {path.name for path in folder.iterdir()} == {
        "index.html", "table.csv", "inspection.json", "labels.png", "durations.png", "speakers.png", "examples",
    }  # fmt: skip
    with (folder / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert {row["label"] for row in rows} == {"low", "high"}
    assert all(Path(row["path"]).parent.name == row["label"] for row in rows)
    assert all(row["speaker"] in row["path"] for row in rows)
    for row in rows[::17]:
        info = soundfile.info(row["path"])
        assert float(row["duration"]) == pytest.approx(info.duration, abs=1e-4)
        assert int(row["sampling_rate"]) == info.samplerate
    assert json.loads((folder / "inspection.json").read_text())["splits"]["train"]["num_good"] == sum(
        row["split"] == "train" for row in rows
    )
    assert [example.entry.target for example in explored_tones.examples] == ["high", "high", "low", "low"]


def test_writes_the_page_of_a_classification_corpus(explored_tones: Exploration):
    text = Page(explored_tones.page).text
    for words in (
        "60 utterances",
        "2 classes",
        "3 speakers",
        "8,000 Hz",
        "0 unusable",
        "16 log-mel features every 10 ms",
    ):
        assert words in text
    assert "hf-speech explore tones.yaml" in text
    assert "epoch 1" not in text
    assert "No problems found: every recording can be read." in text


def test_the_page_of_transcripts_describes_augmentation(explored_beeps: Exploration):
    text = Page(explored_beeps.page).text
    for words in ("180 utterances", "different words", "New words are the share", "Beside each original"):
        assert words in text
    for example in explored_beeps.examples:
        for version in example.versions:
            assert f"“{version.target}”" in text
            assert ", ".join(version.done) in text
    assert "augmentation.speed 0.8 to 1.2" in text
    assert "model.time_mask_width 20" in text
    assert "volume reduced by a factor of" in text


@pytest.mark.usefixtures("without_pictures")
def test_reports_bad_files_and_continues(digit_folder: Path, tmp_path: Path):
    bad = digit_folder / "low" / "speaker0_<b>.wav"
    bad.write_bytes(b"no sound at all")
    (digit_folder / "low" / "speaker1_99.wav").write_bytes(b"")
    recipe = tones(digit_folder)
    assert recipe.corpus.bad_rows == "refuse"
    exploration = explore(recipe, tmp_path / "out", examples=1)
    assert recipe.corpus.bad_rows == "refuse"
    page = Page(exploration.page)
    assert "2 unusable" in page.text
    assert str(bad) in page.text  # escaped: the parser would have met a tag
    assert "--corpus.bad_rows skip" in page.text
    with (tmp_path / "out" / "table.csv").open(newline="", encoding="utf-8") as file:
        unusable = [row for row in csv.DictReader(file) if row["usable"] == "no"]
    assert {Path(row["path"]).name for row in unusable} == {bad.name, "speaker1_99.wav"}
    assert {row["duration"] for row in unusable} == {""}


@pytest.mark.usefixtures("without_pictures")
def test_escapes_control_characters_on_the_page(digit_folder: Path, tmp_path: Path):
    names = {"low": "a\x1b[2Jb", "high": "\u202e evil\x07"}
    for old, new in names.items():
        (digit_folder / old).rename(digit_folder / new)
    content = explore(tones(digit_folder), tmp_path / "out", examples=1).page.read_text(encoding="utf-8")
    assert "a\\u001b[2Jb" in content
    assert "\\u202e evil\\u0007" in content
    assert not set("\x1b\x07\u202e") & set(content)


def test_explores_a_corpus_that_training_rejects(digit_folder: Path, tmp_path: Path):
    for file in (digit_folder / "high").iterdir():
        file.write_bytes(b"")
    exploration = explore(tones(digit_folder), tmp_path / "out", examples=1)
    assert "30 unusable" in Page(exploration.page).text
    assert [example.entry.target for example in exploration.examples] == ["low"]


@pytest.mark.usefixtures("without_pictures")
def test_reports_rows_that_cannot_be_loaded(tmp_path: Path, make_beeps):
    """A line of `text` without a recording, with which training would not start."""
    for folder, count in (("train", 8), ("test", 2)):
        (tmp_path / folder).mkdir()
        names = [f"{folder}{index}" for index in range(count)]
        for name in names:
            soundfile.write(tmp_path / folder / f"{name}.wav", make_beeps("ab"), 8000)
        (tmp_path / folder / "wav.scp").write_text("".join(f"{name} {name}.wav\n" for name in names))
        (tmp_path / folder / "text").write_text("".join(f"{name} ab\n" for name in [*names, "ghost"]))
        (tmp_path / folder / "utt2spk").write_text("".join(f"{name} {name}\n" for name in names))
    recipe = {
        "task": "automatic-speech-recognition",
        "corpus": {"name": "kaldi", "data_dir": str(tmp_path)},
        "features": {"sampling_rate": 8000, "num_mel_bins": 16, "hop_length": 80, "win_length": 200},
        "model": {"channels": 16, "hidden_size": 8, "num_hidden_layers": 1},
    }
    exploration = explore(load_recipe(recipe), tmp_path / "out", examples=1)
    assert "'ghost' is in" in Page(exploration.page).text
    assert len(exploration.table.usable()) == 10


@pytest.mark.usefixtures("without_pictures")
def test_writes_a_report_without_readable_files(digit_folder: Path, tmp_path: Path):
    for file in digit_folder.rglob("*.wav"):
        file.write_bytes(b"")
    exploration = explore(tones(digit_folder, "--features.normalization", "global"), tmp_path / "out")
    assert exploration.charts == []
    assert exploration.examples == []
    page = Page(exploration.page)
    assert "60 unusable" in page.text
    assert "Global statistics need utterances" in page.text


@pytest.mark.usefixtures("without_pictures")
def test_transcripts_longer_than_their_sound_are_unusable(beeps_recipe: Path, tmp_path: Path):
    recipe = load_recipe(beeps_recipe, ["--model.subsampling", "8", "--features.hop_length", "800"])
    exploration = explore(recipe, tmp_path / "out", examples=1)
    assert "too short for their transcripts" in Page(exploration.page).text
    assert 0 < sum(not entry.usable for entry in exploration.table.entries) < 180


@pytest.mark.usefixtures("without_pictures")
def test_shows_examples_of_the_requested_split(digit_folder: Path, tmp_path: Path):
    exploration = explore(tones(digit_folder), tmp_path / "out", split="test", examples=1)
    assert [example.entry.split for example in exploration.examples] == ["test", "test"]


@pytest.mark.usefixtures("without_pictures")
def test_the_page_notes_classes_without_examples(digit_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(examples, "MAX_CLASSES", 1)
    exploration = explore(tones(digit_folder), tmp_path / "out")
    assert {example.entry.target for example in exploration.examples} == {"high"}
    assert (
        "Examples of 1 of the 2 classes are shown. --examples N shows N of every class." in Page(exploration.page).text
    )
    exploration = explore(tones(digit_folder), tmp_path / "out", examples=1)
    assert [example.entry.target for example in exploration.examples] == ["high", "low"]
    assert "of the 2 classes" not in Page(exploration.page).text


@pytest.mark.usefixtures("without_pictures")
def test_replaces_only_an_earlier_exploration(explored_tones: Exploration, digit_folder: Path, tmp_path: Path):
    folder = tmp_path / "out"
    shutil.copytree(explored_tones.folder, folder)
    (folder / "notes.txt").write_text("mine")
    assert len(list((folder / "examples").iterdir())) == 8
    explore(tones(digit_folder), folder, examples=1)
    assert {path.stem for path in (folder / "examples").iterdir()} == {"01-high", "02-low"}
    assert (folder / "notes.txt").read_text() == "mine"
    with pytest.raises(RecipeError, match="contains something other than an exploration"):
        explore(tones(digit_folder), digit_folder)
    with pytest.raises(RecipeError, match="is a file"):
        explore(tones(digit_folder), folder / "notes.txt")
    assert len(list(digit_folder.rglob("*.wav"))) == 60


@pytest.mark.parametrize(
    ("overrides", "options", "message"),
    [
        ([], {"augmented": True}, "has no augmentation"),
        (["--augmentation.gain", "[0,3]"], {"augmented": True, "split": "test"}, "Only the train split is augmented"),
        ([], {"split": "dev"}, "choose from train, validation, test"),
        (["--features.num_mel_bins", "0"], {}, "num_mel_bins"),
        (["--model.hidden_size", "0"], {}, "hidden_size"),
    ],
)
def test_one_sentence_error_for_invalid_options(
    overrides: list[str], options: dict, message: str, digit_folder: Path, tmp_path: Path
):
    with pytest.raises(RecipeError, match=message):
        explore(tones(digit_folder, *overrides), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_error_for_a_missing_corpus(tmp_path: Path):
    with pytest.raises(CorpusError, match="does not exist"):
        explore(tones(tmp_path / "nowhere"), tmp_path / "out")


def test_explore_command(tones_recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["--output", str(tmp_path / "out"), "--examples", "1", "--split", "validation"]
    assert run("explore", str(tones_recipe), *words, "--features.num-mel-bins", "12") == 0
    printed = capsys.readouterr().out
    assert "Corpus folder: 60 utterances inspected, 0 of them bad" in printed
    assert f"Written: {tmp_path / 'out' / 'index.html'}" in printed
    assert "12 log-mel features" in Page(tmp_path / "out" / "index.html").text
    assert run("explore", str(tones_recipe), "--output", str(tmp_path / "b"), "--split", "dev") == 2
    assert "choose from train, validation, test" in capsys.readouterr().err


def test_script_runs_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    script = REPOSITORY / "scripts" / "explore_data.py"
    monkeypatch.setattr(sys, "argv", [str(script), "no-such-recipe"])
    monkeypatch.setattr(sys, "path", [str(script.parent), *sys.path])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(str(script), run_name="__main__")
    assert exit_.value.code == 2
    assert "There is no recipe 'no-such-recipe'" in capsys.readouterr().err
    assert len(script.read_text().splitlines()) < 40


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"num_mel_bins": 40},
            "40 log-mel features every 10 ms of sound at 16,000 Hz, each normalized over the utterance",
        ),
        (
            {"feature_type": "mfcc", "num_deltas": 1, "normalization": "peak"},
            "13 cepstral coefficients (MFCC) with deltas every 10 ms of sound at 16,000 Hz, of sound scaled to a "
            "peak of 1",
        ),
    ],
)
def test_describe_features(options: dict, words: str):
    assert describe_features(SpeechFeatureExtractor(**options)) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4321, "0.432 s"), (59, "59 s"), (90, "1.5 min"), (9000, "2.5 h"), (float("nan"), "unknown")],
)
def test_formats_durations(seconds: float, words: str):
    assert format_duration(seconds) == words


@pytest.mark.usefixtures("without_pictures")
def test_draws_no_speaker_chart_without_speakers(beeps_recipe: Path, tmp_path: Path):
    explored = explore(load_recipe(beeps_recipe), tmp_path / "explored", examples=1)
    assert not (explored.folder / "speakers.png").exists()


def test_a_full_disk_leaves_no_files(tones_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys.modules["hf_speech.exploration.explore"], "save_examples", full)
    with pytest.raises(HFSpeechError, match="the disk is full"):
        explore(load_recipe(tones_recipe), tmp_path / "out")
    assert not (tmp_path / "out").exists()
