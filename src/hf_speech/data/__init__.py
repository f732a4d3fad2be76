"""Rows: where corpora come from, how sound is read, inspected, augmented and batched."""

from __future__ import annotations

from hf_speech.data.audio import AudioInfo, AudioSource, audio_info, read_audio, resample

__all__ = ["AudioInfo", "AudioSource", "audio_info", "read_audio", "resample"]
