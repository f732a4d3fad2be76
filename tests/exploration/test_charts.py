"""Charts of a corpus: data, names, units, and no overlaps."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from hf_speech.exploration.charts import MAX_BARS, plot_durations, plot_labels, plot_speakers, plot_transcripts
from hf_speech.exploration.table import Entry, Table
from hf_speech.tasks import TextOptions, get_task

CLASSES, TRANSCRIPTS = get_task("audio-classification"), get_task("automatic-speech-recognition")


def table_of(targets: list[str], classes: list[str] | None = None, speakers: int = 3, seed: int = 0) -> Table:
    """Returns a table of utterances of 0.5 to 2 s with these targets in all three splits."""
    rng = np.random.default_rng(seed)
    splits = ["train", "train", "train", "validation", "test"]
    entries = [
        Entry(splits[i % 5], f"{i}.wav", target, f"s{i % speakers}", float(rng.uniform(0.5, 2)), 8000, True)
        for i, target in enumerate(targets)
    ]
    entries.sort(key=lambda entry: ["train", "validation", "test"].index(entry.split))
    entries.append(Entry("train", "bad.wav", targets[0], "s0", float("nan"), None, False))
    return Table(TRANSCRIPTS if classes is None else CLASSES, entries, classes)


def apart(axes, side: str) -> bool:
    """Returns whether the labels of an axis do not overlap."""
    labels = axes.get_xticklabels() if side == "x" else axes.get_yticklabels()
    boxes = [label.get_window_extent() for label in labels if label.get_text()]
    spans = sorted((getattr(box, f"{side}0"), getattr(box, f"{side}1")) for box in boxes)
    return all(first[1] <= second[0] + 1 for first, second in itertools.pairwise(spans))


def lengths_of_bars(axes) -> np.ndarray:
    """Returns the widths of horizontal bars, `(splits, names)`."""
    return np.array([[bar.get_width() for bar in container] for container in axes.containers])


def test_draws_a_bar_for_each_class_in_the_order_of_ids(tmp_path: Path, drawn: list[Figure]):
    classes = ["zero", "a name that is much too long to be drawn", "$5 to $7"]
    table = table_of([classes[i % 2] for i in range(20)], classes)
    plot_labels(table, tmp_path / "labels.png")
    axes = drawn[0].axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[0] == "zero"
    assert names[1] == "a name that is much too lon…"
    assert names[2] == r"\$5 to \$7"  # matplotlib draws it without the backslash
    assert lengths_of_bars(axes).tolist() == [[6, 6, 0], [2, 2, 0], [2, 2, 0]]
    assert [text.get_text() for text in axes.texts if text.get_text().isdigit()] == ["10", "10", "0"]
    assert axes.get_xlabel() == "Utterances"
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["train", "validation", "test"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first class is on top


@pytest.mark.parametrize("count", [1, 12, 50, 300])
def test_names_of_classes_do_not_overlap(count: int, tmp_path: Path, drawn: list[Figure]):
    classes = [f"class {i}" for i in range(count)]
    table = table_of([name for i, name in enumerate(classes) for _ in range(1 + i % 7)], classes)
    plot_labels(table, tmp_path / "labels.png")
    axes = drawn[0].axes[0]
    assert len(axes.get_yticklabels()) == min(count, MAX_BARS)
    assert apart(axes, "y")
    assert apart(axes, "x")
    subtitle = " ".join(text.get_text() for text in axes.texts).replace("\n", " ")
    assert f"of {count:,} class{'' if count == 1 else 'es'}" in subtitle
    assert (f"showing the {MAX_BARS} largest" in subtitle) == (count > MAX_BARS)


def test_draws_characters_words_and_speaking_rate_of_transcripts(tmp_path: Path, drawn: list[Figure]):
    table = table_of(["ab b", "b", "c ab", "b b b", "ab"] * 8)
    plot_transcripts(table, tmp_path / "labels.png")
    characters, words, pace = drawn[0].axes
    assert [label.get_text() for label in characters.get_xticklabels()] == ["b", "a", "c"]
    heights = np.array([[bar.get_height() for bar in container] for container in characters.containers])
    assert heights.sum(0).tolist() == [64, 24, 8]
    assert [label.get_text() for label in words.get_yticklabels()] == ["b", "ab", "c"]
    assert lengths_of_bars(words).sum(0).tolist() == [40, 24, 8]
    assert (characters.get_xlabel(), words.get_xlabel()) == ("Character", "Occurrences")
    assert (pace.get_xlabel(), pace.get_ylabel()) == ("Words per second", "Utterances (%)")
    for stairs in pace.patches:  # Each split sums to 100%.
        assert stairs.get_data().values.sum() == pytest.approx(100)
    boxes = [axes.get_tightbbox() for axes in drawn[0].axes]
    assert all(above.y0 > below.y1 for above, below in itertools.pairwise(boxes))


def test_draws_durations_of_each_split_on_the_same_axis(tmp_path: Path, drawn: list[Figure]):
    table = table_of(["a"] * 50, ["a", "b"])
    plot_durations(table, tmp_path / "durations.png")
    panels = drawn[0].axes
    assert [sum(bar.get_height() for bar in panel.patches) for panel in panels] == [30, 10, 10]
    assert len({panel.get_xlim() for panel in panels}) == 1
    assert panels[-1].get_xlabel() == "Duration (s)"
    durations = [entry.duration for entry in table.usable("test")]
    words = f"test: {min(durations):.2f} to {max(durations):.2f} s, median {np.median(durations):.2f} s"
    assert words in [text.get_text() for text in panels[2].texts]
    for panel in panels:
        box = panel.get_window_extent()
        assert all(text.get_window_extent().x1 < box.x1 for text in panel.texts)


@pytest.mark.parametrize("seconds", [[1.0], [0.5, 0.5, 0.5], [0.3, 0.31, 0.32, 0.33, 3000.0]])
def test_draws_durations_of_unusual_corpora(seconds: list[float], tmp_path: Path, drawn: list[Figure]):
    entries = [Entry("train", f"{i}.wav", "a", None, value, 8000, True) for i, value in enumerate(seconds)]
    plot_durations(Table(CLASSES, entries, ["a"]), tmp_path / "durations.png")
    assert sum(bar.get_height() for bar in drawn[0].axes[0].patches) == len(seconds)
    words = drawn[0].axes[0].texts[-1].get_text()
    assert words == (
        f"train: all {seconds[0]:.2f} s" if len(set(seconds)) == 1 else "train: 0.30 to 3000.00 s, median 0.32 s"
    )


def test_draws_transcripts_without_words(tmp_path: Path, drawn: list[Figure]):
    plot_transcripts(
        Table(TRANSCRIPTS, table_of(["?"] * 10).entries, None, TextOptions("english")), tmp_path / "labels.png"
    )
    assert "0 words, 0 different." in " ".join(text.get_text() for text in drawn[0].axes[1].texts)


def test_names_few_speakers_and_groups_many_by_split(tmp_path: Path, drawn: list[Figure]):
    plot_speakers(table_of(["a"] * 40, ["a"], speakers=2), tmp_path / "few.png")
    assert [label.get_text() for label in drawn[0].axes[0].get_yticklabels()] == ["s0", "s1"]
    many = table_of(["a"] * 400, ["a"], speakers=200)
    plot_speakers(many, tmp_path / "many.png")
    axes = drawn[1].axes[0]
    heights = np.array([[bar.get_height() for bar in container] for container in axes.containers])
    assert heights.shape == (3, 200)
    assert heights.sum() == 400
    first_split = heights.argmax(0)
    assert (np.diff(first_split) >= 0).all()
    assert axes.get_ylabel() == "Utterances"
