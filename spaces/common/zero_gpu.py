"""Support for ZeroGPU, with which a Space gets a GPU only while a decorated function runs. No effect elsewhere.

The model for these functions is moved to the GPU at start, as ZeroGPU requires. Live recordings use the CPU, where a
piece takes less time than waiting for a GPU.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any, TypeVar

IS_HERE = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("true", "1")
DEVICE = "cuda" if IS_HERE else "cpu"
SECONDS = 30
"""The maximal duration of a call, more than a minute of sound needs. Shorter calls have priority in the queue."""
Function = TypeVar("Function", bound=Callable[..., Any])


def on_gpu(function: Function) -> Function:
    """Makes a function run with a GPU; its arguments and result are then sent between processes."""
    if not IS_HERE:
        return function
    import spaces  # installed by the Hub

    decorated: Function = spaces.GPU(duration=SECONDS)(function)
    return decorated


def gpu_model(model: Any) -> Any:
    """Returns the model for functions that run with a GPU."""
    return copy.deepcopy(model).to(DEVICE) if IS_HERE else model
