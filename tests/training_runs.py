"""Run folders of interrupted training runs, and a teacher."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel


def cut_off(run: Path, folder: Path, step: int) -> Path:
    """Returns a copy of a run without anything written after the checkpoint of a step."""
    shutil.copytree(run, folder)
    for checkpoint in (folder / "checkpoints").iterdir():
        if step_of(checkpoint) > step:
            shutil.rmtree(checkpoint)
    (folder / "model.safetensors").unlink()
    return folder


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def save_whisper(folder: Path, **options: Any) -> Path:
    """Returns a two-layer Whisper with random weights, for sounds of 10 s."""
    torch.manual_seed(0)
    sizes = {"d_model": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "num_mel_bins": 20, "vocab_size": 30}
    sizes |= {f"{part}_{what}": 2 for part in ("encoder", "decoder") for what in ("layers", "attention_heads")}
    tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
    WhisperModel(WhisperConfig(**sizes | tokens | {"max_source_positions": 500} | options)).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=20, chunk_length=10).save_pretrained(folder)
    return folder
