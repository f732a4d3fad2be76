"""ZeroGPU: Spaces that get a GPU only while a decorated function runs. On any other machine nothing changes.

The model that computes there is on the GPU from the beginning, as ZeroGPU wants it. Live microphones stay on the CPU: a
piece takes less time there than waiting for a GPU.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any, TypeVar

IS_HERE = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("true", "1")
DEVICE = "cuda" if IS_HERE else "cpu"
SECONDS = 30
"""More than a minute of sound takes. The shorter, the better the place of visitors in the queue."""
Function = TypeVar("Function", bound=Callable[..., Any])


def on_gpu(function: Function) -> Function:
    """A function that runs with a GPU; its arguments and its result are sent between processes."""
    if not IS_HERE:
        return function
    import spaces  # installed by the Hub

    decorated: Function = spaces.GPU(duration=SECONDS)(function)
    return decorated


def gpu_model(model: Any) -> Any:
    """The model for functions that run with a GPU."""
    return copy.deepcopy(model).to(DEVICE) if IS_HERE else model
