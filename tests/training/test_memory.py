"""Memory use does not grow during long training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from hf_speech.training import load_recipe, train

STATM = Path("/proc/self/statm")
# Less than a megabyte an epoch; the logits of a single evaluation of a real corpus are hundreds.
TOLERATED = 16e6


class MemoryOfEpochs(TrainerCallback):
    """Records the resident memory of this process after each epoch, in bytes."""

    def __init__(self) -> None:
        self.sizes: list[float] = []

    def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        pages = int(STATM.read_text(encoding="utf-8").split()[1])
        self.sizes.append(pages * os.sysconf("SC_PAGE_SIZE"))


@pytest.mark.slow
@pytest.mark.skipif(not STATM.exists(), reason="resident memory is read from /proc, which this system does not have")
@pytest.mark.parametrize("name", ["tones", "beeps"])
def test_memory_is_constant_over_many_epochs(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    recipe = load_recipe(
        request.getfixturevalue(f"{name}_recipe"),
        ["--training.num_train_epochs", "80", "--training.load_best_model_at_end", "false"],
    )
    memory = MemoryOfEpochs()
    train(recipe, tmp_path / "run", callbacks=[memory])
    assert len(memory.sizes) == 80
    # The first epochs fill caches of buffers and of compiled operations.
    assert max(memory.sizes[40:]) - max(memory.sizes[20:40]) < TOLERATED
