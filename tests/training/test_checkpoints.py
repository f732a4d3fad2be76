from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hf_speech.errors import TrainingError
from hf_speech.training import load_recipe, train
from hf_speech.training.checkpoints import FILES, disk_is_full, find_checkpoint, find_fault, write_digests


@pytest.fixture
def run(tones_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, whose checkpoints tests may damage."""
    shutil.copytree(tones_run, tmp_path / "run")
    return tmp_path / "run"


def checkpoints(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))


def cut(path: Path, share: float = 0.6) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def test_finds_the_newest_checkpoint(run: Path) -> None:
    assert find_checkpoint(run) == (checkpoints(run)[-1], [])


@pytest.mark.parametrize("name", [*FILES, "rng_state.pth", "config.json"])
@pytest.mark.parametrize("share", [0.0, 0.6, 0.98])
def test_skips_truncated_checkpoints(run: Path, name: str, share: float) -> None:
    *_, before, last = checkpoints(run)
    cut(last / name, share)
    folder, (skipped,) = find_checkpoint(run)
    assert folder == before
    assert f"{last} is damaged ({name} is cut short)" in skipped


@pytest.mark.parametrize("name", [*FILES, "rng_state.pth"])
def test_skips_invalid_checkpoints(run: Path, name: str) -> None:
    *_, before, last = checkpoints(run)
    (last / name).unlink()
    assert find_checkpoint(run)[0] == before


def test_detects_a_changed_byte_by_checksum(run: Path) -> None:
    last = checkpoints(run)[-1]
    content = bytearray((last / "optimizer.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (last / "optimizer.pt").write_bytes(content)
    assert find_fault(last) == "optimizer.pt is cut short"


def test_detects_a_wrong_step_and_additional_files(run: Path) -> None:
    last = checkpoints(run)[-1]
    assert find_fault(last, also=["unaveraged.safetensors"]) == "unaveraged.safetensors is missing"
    state = json.loads((last / "trainer_state.json").read_text())
    (last / "trainer_state.json").write_text(json.dumps(state | {"global_step": 1}))
    assert find_fault(last) == "trainer_state.json belongs to another step"


def test_starts_over_without_a_complete_checkpoint(run: Path, tmp_path: Path) -> None:
    for checkpoint in checkpoints(run):
        (checkpoint / "optimizer.pt").unlink()
    with pytest.raises(TrainingError, match=r"optimizer\.pt is missing.*train without --resume"):
        find_checkpoint(run)
    with pytest.raises(TrainingError, match="no intact checkpoint"):
        find_checkpoint(tmp_path)


def test_resumes_from_the_last_complete_checkpoint(
    run: Path, tones_run: Path, tones_recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut(checkpoints(run)[-1] / "model.safetensors")
    (run / "model.safetensors").unlink()
    train(load_recipe(tones_recipe), run, resume=True)
    assert "model.safetensors is cut short): it is skipped" in capsys.readouterr().out
    one, two = (load_file(folder / "model.safetensors") for folder in (tones_run, run))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_distinguishes_a_full_disk_from_other_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk_is_full(OSError(errno.ENOSPC, "No space left on device"), tmp_path)
    assert disk_is_full(RuntimeError("I/O error: No space left on device (os error 28)"), tmp_path)
    assert not disk_is_full(OSError(errno.EACCES, "Permission denied"), tmp_path)
    writer = RuntimeError("[enforce fail at inline_container.cc] . PytorchStreamWriter failed writing file data/0")
    stream = RuntimeError("basic_ios::clear: iostream error")
    assert not disk_is_full(writer, tmp_path)
    assert not disk_is_full(stream, tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(100, 100, 0))
    assert disk_is_full(writer, tmp_path)
    assert disk_is_full(stream, tmp_path)
    assert not disk_is_full(RuntimeError("something else"), tmp_path)


def flip(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 0x3F
    path.write_bytes(content)


def add_pickle(checkpoint: Path) -> None:
    shutil.copy(checkpoint / "optimizer.pt", checkpoint / "scaler.pt")


def exchange(checkpoint: Path) -> None:
    shutil.copy(checkpoints(checkpoint.parent.parent)[0] / "optimizer.pt", checkpoint / "optimizer.pt")


def make_folder(checkpoint: Path) -> None:
    (checkpoint / "config.json").unlink()
    (checkpoint / "config.json").mkdir()


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda folder: flip(folder / "model.safetensors", 0.9), "model.safetensors is damaged"),
        (lambda folder: flip(folder / "model.safetensors", 0.99), "model.safetensors is damaged"),
        (lambda folder: (folder / "config.json").write_text("null"), "config.json is damaged"),
        (lambda folder: (folder / "config.json").write_text("[" * 100_000), "config.json is cut short"),
        (lambda folder: (folder / "sha256.json").write_text("[]"), "sha256.json cannot be read"),
        (lambda folder: (folder / "sha256.json").write_text("{"), "sha256.json cannot be read"),
        (make_folder, "config.json is missing"),
        (exchange, "optimizer.pt is damaged"),
        (add_pickle, "scaler.pt does not belong to it"),
    ],
)
def test_damage_is_found(
    damage: Callable[[Path], object], fault: str, run: Path, tones_run: Path, tones_recipe: Path
) -> None:
    *_, before, last = checkpoints(run)
    damage(last)
    assert find_fault(last) == fault
    folder, (skipped,) = find_checkpoint(run)
    assert folder == before
    assert fault in skipped
    (run / "model.safetensors").unlink()
    train(load_recipe(tones_recipe), run, resume=True, splits=())
    assert find_fault(last) is None
    one, two = (load_file(folder / "model.safetensors") for folder in (tones_run, run))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_accepts_checkpoints_of_version_0_1_without_digests(run: Path) -> None:
    last = checkpoints(run)[-1]
    (last / "sha256.json").unlink()
    assert find_checkpoint(run)[0] == last


def test_a_damaged_best_checkpoint_is_not_loaded(run: Path, tones_recipe: Path) -> None:
    last = checkpoints(run)[-1]
    state = json.loads((last / "trainer_state.json").read_text())
    best = run / "checkpoints" / Path(state["best_model_checkpoint"]).name
    state["best_model_checkpoint"] = str(best)
    (last / "trainer_state.json").write_text(json.dumps(state))
    write_digests(last)
    if best == last:
        shutil.copytree(last, copy := last.with_name("checkpoint-1"))
        state["best_model_checkpoint"] = str(copy)
        (last / "trainer_state.json").write_text(json.dumps(state))
        write_digests(last)
        best = copy
    flip(best / "model.safetensors", 0.9)
    with pytest.raises(TrainingError, match=r"best checkpoint .* is damaged .*load_best_model_at_end false"):
        train(load_recipe(tones_recipe), run, resume=True)
