from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hf_speech.training import options
from hf_speech.training.options import TrainingOptions, computes_bfloat16


@pytest.mark.parametrize("able", [True, False])
def test_bfloat16_only_where_the_machine_has_it(able: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(options, "computes_bfloat16", lambda: able)
    assert TrainingOptions(bf16=True).training_arguments(tmp_path, "wer", False).bf16 is able
    assert TrainingOptions(bf16=False).training_arguments(tmp_path, "wer", False).bf16 is False


@pytest.mark.skipif(not hasattr(torch.cpu, "get_capabilities"), reason="torch 2.11 does not list what a CPU can do")
@pytest.mark.parametrize(("instruction", "able"), [("avx512_bf16", True), ("amx_bf16", True), ("avx512_fp16", False)])
def test_instructions_decide_on_a_cpu(instruction: str, able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": False, instruction: True})
    assert computes_bfloat16() is able
