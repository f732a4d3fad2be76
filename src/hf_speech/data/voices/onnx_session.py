"""Opens the ONNX models of neural voices."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hf_speech.errors import CorpusError


def open_session(model: Path) -> Any:
    """Returns an ONNX Runtime session on the CPU with `OMP_NUM_THREADS` threads, if set."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def not_installed(title: str) -> CorpusError:
    """Returns the error to raise if the package of a synthesizer is missing."""
    return CorpusError(f"The voices of {title} need packages that are not installed: pip install 'hf_speech[voices]'.")
