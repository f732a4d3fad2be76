"""Computes the encoder states of a teacher, and caches them in a memory-mapped file.

The teacher processes the recording without augmentation, at its own sampling rate, so its states are computed once for
all epochs. Layer norm without weights gives the states of all layers and teachers the same scale.

Whisper processes windows of 30 s. Here, a window is as long as the recording, rounded up to 5 s, and uses the first
position embeddings. For clips of 3 to 4 s, this takes a tenth of the time; the cosine similarity of the states of
tiny.en to those of a window of 30 s is 0.96 to 0.98 in the last layer and at least 0.98 in the others.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from hf_speech.common.files import file_size
from hf_speech.common.progress import progress_bar
from hf_speech.common.text import counted
from hf_speech.data.audio import read_audio
from hf_speech.data.cache import cache_dir, digest, locked
from hf_speech.errors import ModelError, RecipeError, TrainingError
from hf_speech.training.checkpoints import disk_is_full
from hf_speech.training.options import EncoderTeacher

# Part of the digest. Increment it when the computation of the states changes.
FORMAT_VERSION = 2
STATES_FILE, INDEX_FILE = "states.f16", "index.bin"
# The digest of a recording, and the number of its states.
INDEX_ENTRY = np.dtype([("recording", "S16"), ("length", "<i8")])
MAX_SECONDS, WINDOW_SECONDS = 30, 5


class TeacherEncoder:
    """The encoder of Whisper, or of another transformers model with a known number of samples per state.

    Args:
        options: The model and its layers.
        device: Device of the encoder.

    Attributes:
        name: Folder or Hub id.
        layers: The chosen layers.
        width: Total size of the states of these layers.
        sampling_rate: Sampling rate of the input in Hz.
        rate: States per second.
        fingerprint: Digest of the weights.

    Raises:
        ModelError: If the model cannot be loaded.
        RecipeError: If the model does not have such an encoder or layers.
    """

    def __init__(self, options: EncoderTeacher, device: torch.device | str = "cpu") -> None:
        from transformers import AutoConfig, AutoFeatureExtractor, AutoModel
        from transformers.utils import logging

        self.name = options.model
        name, _, revision = (self.name, "", "") if Path(self.name).exists() else self.name.partition("@")
        source = {"revision": revision or None, "trust_remote_code": False}
        logging.disable_progress_bar()
        try:
            config: Any = AutoConfig.from_pretrained(name, **source)
            is_whisper = config.model_type == "whisper"
            if not is_whisper and not hasattr(config, "inputs_to_logits_ratio"):
                raise RecipeError(
                    f"The teacher {self.name} ({config.model_type}) has no suitable encoder: choose a Whisper, "
                    "wav2vec 2.0, HuBERT or WavLM model, or set training.teacher to a model of hf_speech."
                )
            self._extractor: Any = AutoFeatureExtractor.from_pretrained(name, **source)
            model: Any = AutoModel.from_pretrained(name, dtype=torch.float32, **source)
        except RecipeError:
            raise
        except Exception as error:  # Libraries raise errors of any kind for missing or damaged files.
            reason = " ".join(str(error).split())[:200]
            raise ModelError(
                f"The teacher {self.name} cannot be loaded ({reason}): check its name or folder."
            ) from error
        self._encoder: Any = (model.get_encoder() if is_whisper else model).eval().requires_grad_(False).to(device)
        self._positions = self._encoder.embed_positions.weight if is_whisper else None
        self.sampling_rate = int(self._extractor.sampling_rate)
        if is_whisper:
            self._step = 2 * self._extractor.hop_length  # The second convolution halves the frames.
            self._limit = self._step * config.max_source_positions
        else:
            self._step = int(config.inputs_to_logits_ratio)
            self._limit = MAX_SECONDS * self.sampling_rate
        self.rate = self.sampling_rate / self._step
        count = int(config.num_hidden_layers)
        self.layers = [count] if options.layers is None else options.layers
        if unknown := [layer for layer in self.layers if not 0 <= layer <= count]:
            raise RecipeError(
                f"The encoder of the teacher {self.name} has the layers 1 to {count} (0 is the input of the first "
                f"layer), but training.teacher.layers contains {unknown[0]}: choose existing layers."
            )
        self.width = len(self.layers) * int(config.hidden_size)
        weights = hashlib.sha256()
        for tensor in self._encoder.state_dict().values():
            weights.update(tensor.cpu().numpy().tobytes())
        self.fingerprint = weights.hexdigest()

    @torch.no_grad()
    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Returns the states `(states, width)` of a waveform `(samples,)`, float16, with concatenated layers."""
        starts = range(0, max(len(waveform), 1), self._limit)
        return np.concatenate([self._encode(waveform[start : start + self._limit]) for start in starts])

    def _encode(self, samples: np.ndarray) -> np.ndarray:
        """Returns the states of samples that fit into one window."""
        count, padding = -(-len(samples) // self._step), {}
        if self._positions is None:
            # Very short samples would have no state.
            samples = np.pad(samples, (0, max(self.sampling_rate // 10 - len(samples), 0)))
        else:
            unit = WINDOW_SECONDS * self.sampling_rate
            window = min(-(-max(len(samples), 1) // unit) * unit, self._limit)
            padding = {"padding": "max_length", "max_length": window}
            positions = self._positions[: window // self._step]
            self._encoder.embed_positions = torch.nn.Embedding.from_pretrained(positions)
            self._encoder.config.max_source_positions = len(positions)  # The encoder checks the length of its input.
        features = self._extractor(samples, sampling_rate=self.sampling_rate, return_tensors="pt", **padding)
        inputs = features[self._encoder.main_input_name].to(self._encoder.device)
        states = self._encoder(inputs, output_hidden_states=True).hidden_states
        normalized = [F.layer_norm(states[layer][0], states[layer].shape[-1:]) for layer in self.layers]
        return torch.cat(normalized, dim=-1)[:count].half().cpu().numpy()

    def states_of(self, source: Mapping[str, Any]) -> np.ndarray:
        """Returns the states of a recording from the `audio` column of a corpus."""
        return self(read_audio(source, self.sampling_rate))


class CachedStates:
    """The cached states of recordings; only those that are not in the cache yet are computed.

    All recordings of the same teacher and layers share one file, which grows. An interrupted computation can therefore
    be resumed, and the folds of a cross-validation compute no recording twice.

    Args:
        teacher: The teacher.
        audio: The `audio` column of a split.
        durations: Duration of each recording in seconds.

    Raises:
        TrainingError: If there is not enough disk space.
    """

    def __init__(self, teacher: TeacherEncoder, audio: Sequence[Mapping[str, Any]], durations: Sequence[float]) -> None:
        folder = cache_dir() / "states" / digest((), FORMAT_VERSION, teacher.fingerprint, teacher.layers)
        keys = [digest([source]).encode() for source in audio]
        needed = 0
        try:
            with locked(folder):
                folder.mkdir(exist_ok=True)
                known = set(_open_index(folder, teacher.width)["recording"].tolist())
                # Each recording once, even if the split contains it more often.
                rows = {key: row for row, key in enumerate(keys) if key not in known}
                if rows:
                    seconds = sum(durations[row] for row in rows.values())
                    needed = int(seconds * teacher.rate * teacher.width * 2)
                    if needed > shutil.disk_usage(folder).free:
                        raise OSError("No space left")
                    hours = f"{seconds / 3600:.2f} h"
                    print(
                        f"The states of {teacher.name} for {counted(len(rows), 'recording')} ({hours}) take about "
                        f"{file_size(needed)} in {folder}",
                        flush=True,
                    )
                    _append(teacher, {key: audio[row] for key, row in rows.items()}, folder)
                index = _open_index(folder, teacher.width)
        except OSError as error:
            if not disk_is_full(error, folder.parent):
                raise
            raise TrainingError(
                f"The states of the teacher need about {file_size(needed)}, but the disk of the cache folder "
                f"{folder.parent} is full: set HF_SPEECH_CACHE to another disk, choose fewer layers, or set "
                "training.teacher.cache to false."
            ) from error
        places = {key: place for place, key in enumerate(index["recording"].tolist())}
        order = [places[key] for key in keys]
        self._ends, self._lengths = np.cumsum(index["length"])[order], index["length"][order]
        # Another training may already be appending to the file.
        shape = int(index["length"].sum()), teacher.width
        self.states = np.memmap(folder / STATES_FILE, np.float16, "r", shape=shape)

    def __call__(self, row: int) -> np.ndarray:
        """Returns the memory-mapped states `(states, width)` of a recording, float16."""
        return self.states[self._ends[row] - self._lengths[row] : self._ends[row]]


def _open_index(folder: Path, width: int) -> np.ndarray:
    """Removes an incomplete end of the files, and returns the digest and number of states of each recording in them."""
    states, index = folder / STATES_FILE, folder / INDEX_FILE
    states.touch()
    index.touch()
    entries = np.fromfile(index, INDEX_ENTRY)
    # After a power cut, states may be missing.
    complete = np.cumsum(entries["length"]) * width * 2 <= states.stat().st_size
    entries = entries[complete]
    os.truncate(index, entries.nbytes)
    os.truncate(states, int(entries["length"].sum()) * width * 2)
    return entries


def _append(teacher: TeacherEncoder, audio: Mapping[bytes, Mapping[str, Any]], folder: Path) -> None:
    """Computes the states of recordings, and appends them to one file and their digests and lengths to another."""
    with (folder / STATES_FILE).open("ab") as states, (folder / INDEX_FILE).open("ab") as index:
        for key, source in progress_bar(audio.items(), "Computing the teacher's states", total=len(audio), leave=False):
            recording = teacher.states_of(source)
            states.write(recording.tobytes())
            states.flush()
            index.write(np.array((key, len(recording)), INDEX_ENTRY).tobytes())
            index.flush()


__all__ = ["CachedStates", "TeacherEncoder"]
