"""Trains a recipe and kills its own process, as `kill -9` does, at a moment named on the command line.

    python faults_driver.py RECIPE RUN_DIR MOMENT [RANK] [--resume]

Of several processes, only the one with that rank is killed. Further moments are "never" and "slow evaluations", in
which nothing is killed and each batch of an evaluation takes six seconds.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

import hf_speech.training.run as run
from hf_speech.training import load_recipe, train
from hf_speech.training.trainer import SpeechTrainer


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_call(owner: Any, name: str, count: int) -> None:
    """Replaces a function by one that kills the process on its `count`-th call."""
    original, calls = getattr(owner, name), 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            die()
        return original(*args, **kwargs)

    setattr(owner, name, counted)


def die_halfway(file_name: str, count: int) -> None:
    """Kills the process when half of the `count`-th file with this name is written."""
    calls = 0

    def written(path: Any) -> None:
        nonlocal calls
        if Path(str(path)).name != file_name:
            return
        calls += 1
        if calls == count:
            content = Path(path).read_bytes()
            Path(path).write_bytes(content[: len(content) // 2])
            die()

    save, save_file = torch.save, safetensors.torch.save_file

    def torch_save(content: Any, file: Any, *args: Any, **kwargs: Any) -> None:
        save(content, file, *args, **kwargs)
        written(file)

    def safetensors_save(tensors: Any, file: Any, *args: Any, **kwargs: Any) -> None:
        save_file(tensors, file, *args, **kwargs)
        written(file)

    torch.save = torch_save
    safetensors.torch.save_file = safetensors_save
    import transformers.modeling_utils

    if hasattr(transformers.modeling_utils, "safe_save_file"):
        transformers.modeling_utils.safe_save_file = safetensors_save


def evaluate_slowly(run_dir: Path) -> None:
    """Makes evaluations slow, and writes a file into the run folder when one begins."""
    predict = SpeechTrainer.prediction_step

    def slow(self: Any, *args: Any, **kwargs: Any) -> Any:
        (run_dir / "evaluating").touch()
        time.sleep(6)
        return predict(self, *args, **kwargs)

    SpeechTrainer.prediction_step = slow


MOMENTS = {
    "in a step": lambda: die_at_call(SpeechTrainer, "training_step", 13),
    "writing the weights of a checkpoint": lambda: die_halfway("model.safetensors", 3),
    "writing the optimizer of a checkpoint": lambda: die_halfway("optimizer.pt", 3),
    "after an epoch, evaluating": lambda: die_at_call(SpeechTrainer, "evaluate", 3),
    "in an evaluation": lambda: die_at_call(SpeechTrainer, "prediction_step", 3),
    "at the end, writing the model": lambda: die_at_call(run, "_save", 1),
    "at the end, evaluating": lambda: die_at_call(run, "_evaluate", 1),
}


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--resume"]
    recipe, run_dir, moment, *rank = words
    if moment == "slow evaluations":
        evaluate_slowly(Path(run_dir))
    elif moment != "never" and (not rank or os.environ["RANK"] == rank[0]):
        MOMENTS[moment]()
    # Together the processes have the recipe's batch.
    share = load_recipe(recipe).training.per_device_train_batch_size // int(os.environ.get("WORLD_SIZE", "1"))
    options = ["--training.per_device_train_batch_size", str(share)]
    train(load_recipe(recipe, options), run_dir, resume="--resume" in sys.argv)
