"""The compiled search without a writable cache, and its parts."""

from __future__ import annotations

import errno
import gc
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core import caching

from hf_speech.decoding import search


def twice(number: float) -> float:
    return 2 * number


def test_works_without_a_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    njit = numba.njit

    def refuse(function, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function 'twice': no locator available")
        return njit(function, **options)

    monkeypatch.setattr(numba, "njit", refuse)
    assert search._compile(twice)(2) == 4


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_works_with_a_full_cache_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))  # Nothing is cached by another test or run.
    refused = []

    def save(*_: object) -> None:
        refused.append(code)
        raise OSError(code, "no")

    monkeypatch.setattr(caching.IndexDataCacheFile, "save", save)
    compiled = search._compile(twice)
    assert (compiled(2), compiled(3)) == (4, 6)
    assert refused == [code]


@pytest.mark.parametrize("was_enabled", [True, False])
def test_restores_garbage_collection_after_the_first_call(was_enabled: bool) -> None:
    compiled, states = search._compile(twice), []
    if not was_enabled:
        gc.disable()
    try:
        for number in (1, 2.0):
            compiled(number)
            states.append(gc.isenabled())
        with pytest.raises(numba.TypingError):
            search._compile(twice)({})
        states.append(gc.isenabled())
    finally:
        gc.enable()
    assert states == [was_enabled] * 3


def test_imports_numba_lazily() -> None:
    code = "import sys, hf_speech.decoding; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("number", [1, 3, 40, 100, 101, 500])
def test_selects_the_highest_values_with_stable_ties(number: int) -> None:
    values = np.random.default_rng(number).integers(0, 12, 100).astype(float)
    values[values == 0] = -np.inf
    expected = sorted(np.argsort(-values, kind="stable")[:number])
    assert search._top_indices(values, number).tolist() == [place for place in expected if values[place] > -np.inf]


def test_computes_logarithms_of_sums() -> None:
    for first, second in [(-1.0, -2.0), (-80.0, -1.0), (-np.inf, -3.0), (-3.0, -np.inf), (-np.inf, -np.inf)]:
        assert search._log_add(first, second) == pytest.approx(np.logaddexp(first, second), abs=1e-15)
