"""One of two processes that simulate separate hosts, with their own corpus and cache.

    python corpora_driver.py RECIPE FOLDER RUN_DIR MODE

The corpus of each process is FOLDER/RANK. Modes: "train", or "slow", in which the first process reads its corpus for
longer than the libraries' timeout.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from transformers import TrainerCallback

recipe_file, folder, run_dir, mode = sys.argv[1:]
rank = os.environ["RANK"]
os.environ["HF_SPEECH_CACHE"] = f"{folder}/cache-{rank}"

from hf_speech.errors import HFSpeechError  # noqa: E402
from hf_speech.training import load_recipe, preparation, train  # noqa: E402


class Spy(TrainerCallback):
    def on_evaluate(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        total = sum(buffer.double().sum().item() for name, buffer in model.named_buffers() if "running" in name)
        print(f"RANK {rank} STATISTICS {total:.9f}\n", flush=True)


if mode == "slow":
    limit = timedelta(seconds=3)
    original_init, original_inspect = dist.init_process_group, preparation.inspect_corpus

    def init(*args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("timeout", limit)  # The libraries' own, shortened.
        original_init(*args, **kwargs)

    def inspect(*args: Any, **kwargs: Any) -> Any:
        if rank == "0":
            time.sleep(5)
        return original_inspect(*args, **kwargs)

    dist.init_process_group, preparation.inspect_corpus = init, inspect

try:
    train(load_recipe(recipe_file, ["--data_dir", f"{folder}/{rank}"]), run_dir, splits=(), callbacks=[Spy()])
except HFSpeechError as error:
    print(f"RANK {rank} ERROR {error}\n", flush=True)
    sys.exit(2)
