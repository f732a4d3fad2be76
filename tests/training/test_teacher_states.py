"""The states of teachers: Whisper and wav2vec 2.0, and the cache."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from training_runs import save_whisper
from transformers import WhisperFeatureExtractor, WhisperModel

from hf_speech.common.files import file_size
from hf_speech.data.audio import read_audio
from hf_speech.errors import RecipeError, TrainingError
from hf_speech.training import load_recipe
from hf_speech.training.options import EncoderTeacher
from hf_speech.training.teacher_states import CachedStates, TeacherEncoder


def test_states_equal_those_of_whisper_in_a_shorter_window(whisper: Path, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).standard_normal(16100).astype(np.float32) * 0.1
    found = TeacherEncoder(EncoderTeacher(str(whisper), layers=[1, 2]))(samples)
    assert found.shape == (51, 32)
    assert found.dtype == np.float16
    full = WhisperModel.from_pretrained(whisper)
    short = WhisperModel.from_pretrained(save_whisper(tmp_path / "short", max_source_positions=250)).get_encoder()
    weights = full.get_encoder().state_dict()
    weights["embed_positions.weight"] = weights["embed_positions.weight"][:250]
    short.load_state_dict(weights)
    mel = WhisperFeatureExtractor(feature_size=20)(samples, sampling_rate=16000, max_length=80000, return_tensors="pt")
    with torch.no_grad():
        states = short.eval()(mel["input_features"], output_hidden_states=True).hidden_states
    expected = torch.cat([torch.nn.functional.layer_norm(states[layer][0, :51], (16,)) for layer in (1, 2)], dim=-1)
    torch.testing.assert_close(torch.from_numpy(found).float(), expected, atol=5e-3, rtol=1e-3)


@pytest.mark.parametrize(("samples", "states"), [(0, 0), (1, 1), (320, 1), (321, 2), (160_000, 500), (200_000, 625)])
def test_a_recording_of_any_length_has_a_state_for_each_20_ms(whisper: Path, samples: int, states: int) -> None:
    teacher = TeacherEncoder(EncoderTeacher(str(whisper)))
    assert teacher.rate == 50
    assert teacher.layers == [2]
    assert teacher(np.full(samples, 0.1, np.float32)).shape == (states, 16)


def test_the_cache_is_memory_mapped_and_continues_after_an_interruption(
    whisper: Path, tones_recipe: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = load_recipe(tones_recipe).corpus.load()["train"]
    audio = list(rows["audio"])[:6]
    teacher = TeacherEncoder(EncoderTeacher(str(whisper), layers=[0, 2]))
    expected = [teacher(read_audio(source, 16000)) for source in audio]
    seconds = [len(states) / 50 for states in expected]
    calls: list[Mapping[str, Any]] = []

    def interrupted(source: Mapping[str, Any]) -> np.ndarray:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(source)
        return TeacherEncoder.states_of(teacher, source)

    monkeypatch.setattr(teacher, "states_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        CachedStates(teacher, audio, seconds)
    said = capsys.readouterr().out
    size = file_size(sum(seconds) * 50 * 32 * 2)
    assert said.startswith(f"The states of {whisper} for 6 recordings (0.00 h) take about {size} in {cache}")
    for file in (cache / "states").glob("*/*"):
        file.write_bytes(file.read_bytes() + b"cut")  # As from a process killed while writing.
    calls = [{}, {}]  # Allows computing one more.
    with pytest.raises(KeyboardInterrupt):
        CachedStates(teacher, audio, seconds)
    calls = []
    cached = CachedStates(teacher, audio, seconds)
    assert calls == audio[4:], "what was computed is not computed again"
    assert isinstance(cached.states, np.memmap)
    assert not cached.states.flags.writeable
    for row, states in enumerate(expected):
        np.testing.assert_array_equal(cached(row), states)


def test_trainings_with_the_same_teacher_and_layers_share_the_states(
    whisper: Path, tones_recipe: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio = list(load_recipe(tones_recipe).corpus.load()["train"]["audio"])[:4]

    def compute(rows: list[int], layers: list[int]) -> CachedStates:
        teacher = TeacherEncoder(EncoderTeacher(str(whisper), layers=layers))
        return CachedStates(teacher, [audio[row] for row in rows], [1.0] * len(rows))

    first = compute([0, 1, 0], [0, 2])
    assert "for 2 recordings" in capsys.readouterr().out, "a recording that occurs twice is computed once"
    other_fold = compute([3, 1, 2], [0, 2])
    assert "for 2 recordings" in capsys.readouterr().out
    again = compute([2, 0], [0, 2])
    assert capsys.readouterr().out == ""
    expected = [TeacherEncoder(EncoderTeacher(str(whisper), layers=[0, 2])).states_of(source) for source in audio]
    for cached, rows in ((first, [0, 1, 0]), (other_fold, [3, 1, 2]), (again, [2, 0])):
        for place, row in enumerate(rows):
            np.testing.assert_array_equal(cached(place), expected[row])
    compute([0], [2])
    assert len(list((cache / "states").glob("*.lock"))) == 2, "other layers: another file"


def test_rejects_states_that_do_not_fit_on_the_disk(
    whisper: Path, tones_recipe: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(TrainingError, match=r"need about 96\.0 kB, but the disk .*teacher\.cache to false"):
        CachedStates(TeacherEncoder(EncoderTeacher(str(whisper))), [{"path": str(whisper / "config.json")}], [60.0])


def test_rejects_teachers_without_a_supported_encoder(tones_run: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    for folder, kind in ((tones_run, "speech_lstm"), (tmp_path, "gpt2")):
        with pytest.raises(RecipeError, match=rf"\({kind}\) has no suitable encoder: choose a Whisper"):
            TeacherEncoder(EncoderTeacher(str(folder)))


def test_distills_from_wav2vec2(tmp_path: Path) -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": (8, 8), "conv_stride": (16, 20), "conv_kernel": (16, 20), "num_feat_extract_layers": 2}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    Wav2Vec2Model(Wav2Vec2Config(**sizes, **convolutions, **positions)).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    teacher = TeacherEncoder(EncoderTeacher(str(tmp_path)))
    assert teacher.rate == 50
    assert teacher(np.random.default_rng(0).standard_normal(8000).astype(np.float32)).shape == (25, 16)
    assert teacher(np.zeros(100, np.float32)).shape == (1, 16)
