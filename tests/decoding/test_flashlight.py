"""Without the optional libraries there is one sentence, and everything but the beam search works."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from hf_speech.decoding import flashlight
from hf_speech.errors import HFSpeechError


def test_without_flashlight_text_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "flashlight", None)
    for name in [name for name in sys.modules if name.startswith("flashlight.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(HFSpeechError, match=r"pip install 'hf_speech\[decode\]'"):
        flashlight.import_library()


@pytest.mark.parametrize(
    "failure", [OSError("libc10_cuda.so: cannot open"), RuntimeError("compiled with CUDA 13.0\nbut"), ImportError("no")]
)
def test_a_torchaudio_that_does_not_fit_is_named(monkeypatch, failure):
    pytest.importorskip("flashlight.lib.text.decoder")
    real = importlib.import_module

    def fail(name: str) -> object:
        if name.startswith("torchaudio"):
            raise failure
        return real(name)

    monkeypatch.setattr(importlib, "import_module", fail)
    reason = str(failure).splitlines()[0]
    with pytest.raises(HFSpeechError, match=rf"fits torch .* \({reason}\): pip install .*torchaudio==2\.11"):
        flashlight.import_library()


def test_decoding_is_imported_without_torchaudio_and_flashlight():
    script = (
        "import sys; sys.modules.update(torchaudio=None, flashlight=None); import numpy as np;"
        "from hf_speech.decoding import greedy_decode;"
        "print(greedy_decode(np.log([[0.1, 0.9]]), ['<pad>', 'a'], seconds_per_frame=0.04).text)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "a\n"
