"""The programs in benchmarks/, without testing speed."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import pytest
import torch

from hf_speech.data import make_corpus
from hf_speech.data.dataset import SpeechCollator, SpeechDataset
from hf_speech.models import ConvGRUForCTC, SpeechFeatureExtractor

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def program(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def report() -> ModuleType:
    return program("report")


def test_replaces_a_section_in_place(report: ModuleType) -> None:
    page = "# Page\n\n<!-- begin a -->\nold\n<!-- end a -->\n\ntext\n\n<!-- begin b -->\nb\n<!-- end b -->\n"
    changed = report.insert(page, "a", r"new \1 text")
    assert changed == page.replace("old", r"new \1 text")
    assert report.insert(changed, "a", "old") == page


def test_appends_a_new_section(report: ModuleType) -> None:
    assert report.insert("# Page\n", "a", "text\n") == "# Page\n\n<!-- begin a -->\ntext\n<!-- end a -->\n"


def test_reports_a_section_without_an_end(report: ModuleType) -> None:
    with pytest.raises(ValueError, match="'<!-- end a -->'"):
        report.insert("<!-- begin a -->\n# Page\n", "a", "text")


def test_every_section_has_its_program(report: ModuleType) -> None:
    page = report.RESULTS.read_text(encoding="utf-8")
    for name in report.BENCHMARKS:
        assert (BENCHMARKS / f"{name}.py").is_file()
        report.insert(page, name, "")


def test_keeps_only_complete_output(report: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "HERE", tmp_path)
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results.md")
    monkeypatch.setattr(report, "BENCHMARKS", {"good": ["--rounds", "2"], "bad": []})
    monkeypatch.setattr("sys.argv", ["report.py"])
    (tmp_path / "good.py").write_text("import sys; print(sys.argv[1:])")
    (tmp_path / "bad.py").write_text("print('half'); raise SystemExit(3)")
    (tmp_path / "results.md").write_text("# Page\n")
    with pytest.raises(SystemExit, match=r"Failed; their sections of results\.md were not changed: bad"):
        report.main()
    page = (tmp_path / "results.md").read_text()
    assert "`python benchmarks/good.py --rounds 2`" in page
    assert "['--rounds', '2']" in page
    assert "half" not in page


def test_timed_steps_use_the_settings_of_a_model(digit_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    rows = make_corpus("folder", data_dir=str(digit_folder)).load()["train"]
    dataset = SpeechDataset(rows, 8000, lambda row: torch.tensor([1, 2]))
    extractor = SpeechFeatureExtractor(sampling_rate=8000, num_mel_bins=20, hop_length=80, win_length=200)
    batch = SpeechCollator(extractor, torch.stack)([dataset[0]])
    known = inspect.signature(ConvGRUForCTC.forward).parameters
    assert batch.keys() - program("training").TRAINER_KEYS <= known.keys()


def test_the_gpu_benchmark_runs_on_a_cpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    gpu = program("gpu")
    monkeypatch.setattr(gpu, "MODELS", {"small": {"subsampling": 8, "hidden_size": 8, "channels": 8}})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu.py", "--batch_seconds", "2", "--clip_seconds", "1", "--rounds", "1"])
    gpu.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[:3] for line in lines if line.startswith("| small")] == [
        ["| small", "dense", "2"],
        ["| small", "packed", "2"],
    ]


@pytest.mark.parametrize(
    ("packed", "expected"), [((2.0, 3.0), "dense"), ((0.5, 0.9), "packed"), ((0.5, 2.0), "depends on the batch")]
)
def test_the_gpu_benchmark_reports_the_faster_recurrence(
    packed: tuple[float, float], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    gpu = program("gpu")
    measured = []
    for sound, seconds in zip((360.0, 3600.0), packed, strict=True):
        measured += [
            gpu.Measurement("a", gpu.OURS, sound, 1.0, 0.5),
            gpu.Measurement("a", gpu.PACKED, sound, seconds),
        ]
    assert measured[0].hours_per_minute == pytest.approx(6)
    text = gpu.table(measured)
    assert text.endswith(f"Faster: {expected}.")
    assert "| a | dense | 360 | 1000.0 | 6.00 | 50% |" in text


def test_the_parts_of_a_step_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    training = program("training")
    parts = training.step_parts(training.batch_of(2, 0.5, torch.device("cpu")), False, 1)
    assert min(parts.values()) >= 0
    assert {"recurrences, forward", "recurrences, backward", "CTC losses, forward", "optimizer"} <= parts.keys()
    whole = parts.pop("whole step")
    assert sum(parts.values()) == pytest.approx(whole, rel=0.2)
