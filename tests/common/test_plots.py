"""Plots of all sizes are drawn, without overlaps and without elements outside the picture."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from hf_speech.common import plots
from hf_speech.common.plots import plot_confusion_matrix, plot_training_curves


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    figures: list[Figure] = []
    save = plots.save_figure
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: (figures.append(figure), save(figure, path)))
    return figures


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def history(epochs: int) -> list[dict[str, float]]:
    entries: list[dict[str, float]] = []
    for epoch in range(1, epochs + 1):
        entries.append({"loss": 2 / epoch, "grad_norm": 1.0, "learning_rate": 1e-3 / epoch, "epoch": epoch - 0.5})
        accuracy = 1 - abs(epoch - 3) / 10
        entries.append({"eval_loss": 3 / epoch, "eval_runtime": 1.0, "eval_accuracy": accuracy, "epoch": epoch})
    return [*entries, {"train_runtime": 9.0, "train_loss": 1.0, "epoch": epochs}]


@pytest.mark.parametrize("classes", [1, 2, 10, 24, 40])
def test_confusion_matrix_contains_every_utterance(classes: int, tmp_path: Path, drawn: list[Figure]):
    counts = np.random.default_rng(0).integers(0, 3, (classes, classes)) + 30 * np.eye(classes, dtype=int)
    names = [f"a rather long class name {i}" for i in range(classes)]
    plot_confusion_matrix(names, counts, tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").read_bytes()[:4] == b"\x89PNG"
    axes = drawn[0].axes[0]
    numbers = [int(text.split("\n")[0]) for text in texts(drawn[0]) if text[:1].isdigit() and "utt" not in text]
    assert sum(numbers) == counts.sum()
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    assert axes.get_xlabel() == "Predicted class"
    assert axes.get_ylabel() == "Reference class"


def test_draws_the_classes_with_the_most_errors(tmp_path: Path, drawn: list[Figure]):
    counts = np.diag(np.full(2000, 3))
    counts[7, 1999] = 2
    plot_confusion_matrix([f"class {i}" for i in range(2000)], counts, tmp_path / "matrix.png")
    names = [label.get_text() for label in drawn[0].axes[0].get_yticklabels()]
    assert len(names) == plots.MAX_CLASSES
    assert {"class 7", "class 1999"} <= set(names)
    assert "The 60 of 2,000 classes with the most errors" in "".join(texts(drawn[0])).replace("\n", " ")
    assert (drawn[0].get_size_inches() < 30).all()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("$x$", r"\$x\$"),
        ("$\\bad{$", r"\$\bad{\$"),
        ("a\rb\nc", r"a\u000db c"),
        ("x" * 5000, "x" * 39 + "…"),
        ("$", r"\$"),
    ],
)
def test_draws_any_class_name(name: str, shown: str, tmp_path: Path, drawn: list[Figure]):
    plot_confusion_matrix([name, "b"], np.eye(2, dtype=int), tmp_path / "matrix.png", title=f"model on {name}")
    assert drawn[0].axes[0].get_yticklabels()[0].get_text() == shown
    assert (drawn[0].get_size_inches() < 30).all()


@pytest.mark.parametrize(("classes", "letters"), [(3, 3), (10, 12), (10, 4), (40, 9)])
def test_labels_do_not_overlap(classes: int, letters: int, tmp_path: Path, drawn: list[Figure]):
    names = [chr(97 + i % 26) * letters for i in range(classes)]
    plot_confusion_matrix(names, 1234 * np.eye(classes, dtype=int), tmp_path / "matrix.png", "A title " * 9)
    axes = drawn[0].axes[0]
    for labels, side in ((axes.get_xticklabels(), "x"), (axes.get_yticklabels(), "y")):
        boxes = [label.get_window_extent() for label in labels]
        spans = sorted((getattr(box, f"{side}0"), getattr(box, f"{side}1")) for box in boxes)
        assert all(first[1] <= second[0] + 0.5 for first, second in itertools.pairwise(spans))
    cell = axes.get_window_extent().width / classes
    assert all(text.get_window_extent().width < cell for text in axes.texts if text.get_text().startswith("1,234"))
    subtitle = next(text for text in axes.texts if "Blue" in text.get_text()).get_window_extent()
    assert axes.get_window_extent().y1 < subtitle.y0
    assert subtitle.y1 < axes.title.get_window_extent().y0 or axes._left_title.get_window_extent().y0 > subtitle.y1


def test_shares_are_of_the_reference_and_not_rounded_up_to_100(tmp_path: Path, drawn: list[Figure]):
    plot_confusion_matrix(["a", "b"], np.array([[3000, 12], [1, 3]]), tmp_path / "matrix.png")
    assert texts(drawn[0])[:4] == ["3,000\n99.6%", "12\n0.4%", "1\n25%", "3\n75%"]


def test_a_class_without_references_has_no_share(tmp_path: Path, drawn: list[Figure]):
    plot_confusion_matrix(["a", "b"], np.array([[1, 2], [0, 0]]), tmp_path / "matrix.png")
    assert texts(drawn[0])[:2] == ["1\n33%", "2\n67%"]


def test_curves_show_loss_metric_and_learning_rate(tmp_path: Path, drawn: list[Figure]):
    plot_training_curves(history(6), tmp_path / "curves.png", "accuracy")
    loss, metric, rate = drawn[0].axes
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    assert loss.lines[1].get_ydata().tolist() == [3 / epoch for epoch in range(1, 7)]
    assert metric.get_ylabel() == "Validation accuracy (%)"
    assert [text.get_text() for text in metric.texts] == ["best: 100.00% in epoch 3"]
    assert rate.lines[0].get_xdata().tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]
    assert rate.get_xlabel() == "Epoch"


def test_the_best_of_an_error_rate_is_the_lowest(tmp_path: Path, drawn: list[Figure]):
    entries = [{"eval_wer": wer, "eval_loss": 1.0, "epoch": epoch} for epoch, wer in enumerate((0.9, 0.2, 0.3), 1)]
    plot_training_curves(entries, tmp_path / "curves.png", "wer", greater_is_better=False)
    assert [text.get_text() for text in drawn[0].axes[1].texts] == ["best: 20.00% in epoch 2"]


@pytest.mark.parametrize("entries", [[], history(1)[:1], history(1)[1:2], [{"epoch": 1.0, "train_runtime": 1.0}]])
def test_draws_curves_of_an_interrupted_run(entries: list[dict[str, float]], tmp_path: Path):
    plot_training_curves(entries, tmp_path / "deep" / "curves.png", "accuracy")
    assert (tmp_path / "deep" / "curves.png").stat().st_size > 1000
