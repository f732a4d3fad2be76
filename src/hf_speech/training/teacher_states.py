"""The states of a teacher's encoder: computed from a recording, or kept in a file that is mapped into memory.

The teacher gets the recording itself, at its own sampling rate, whatever augmentation does to the clip that the student
gets: so its states are computed once for all epochs. They are normalized (layer norm without weights), which makes the
layers of all teachers alike in size.

Whisper reads windows of 30 s. Here a window is as long as the recording, rounded up to 5 s, with as many of the
positions: for clips of 3 to 4 s, the states of tiny.en have a cosine similarity of 0.96 to 0.98 to those of 30 s in the
last layer and of 0.98 or more in the others, and take a tenth of the time.
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
from hf_speech.data.audio import read_audio
from hf_speech.data.cache import build_once, cache_dir, digest
from hf_speech.errors import ModelError, RecipeError, TrainingError
from hf_speech.training.checkpoints import disk_is_full
from hf_speech.training.options import EncoderTeacher

# Part of the digest: to be raised whenever the same teacher gives other states.
FORMAT_VERSION = 1
STATES_FILE, LENGTHS_FILE = "states.f16", "lengths.i64"
MAX_SECONDS, WINDOW_SECONDS = 30, 5


class TeacherEncoder:
    """The encoder of Whisper, or of another speech model of transformers that says how many samples a state spans.

    Args:
        options: Which model, and which of its layers.
        device: Where it computes.

    Attributes:
        name: Its folder or Hub id.
        layers: The chosen layers.
        width: Features of their states together.
        sampling_rate: The rate in Hz of the waveforms that it takes.
        rate: States a second.
        fingerprint: A digest of its weights.

    Raises:
        ModelError: If it cannot be loaded.
        RecipeError: If it has no such encoder or layers.
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
                    f"The teacher {self.name} ({config.model_type}) has no encoder whose states could be learned: take "
                    "a Whisper, wav2vec 2.0, HuBERT or WavLM model, or name a model of this package without layers."
                )
            self._extractor: Any = AutoFeatureExtractor.from_pretrained(name, **source)
            model: Any = AutoModel.from_pretrained(name, dtype=torch.float32, **source)
        except RecipeError:
            raise
        except Exception as error:  # Libraries raise anything over files that are missing or damaged.
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
                f"The encoder of the teacher {self.name} has the layers 1 to {count} (0 is the first one's input), and "
                f"training.teacher.layers names {unknown[0]}: choose among them."
            )
        self.width = len(self.layers) * int(config.hidden_size)
        weights = hashlib.sha256()
        for tensor in self._encoder.state_dict().values():
            weights.update(tensor.cpu().numpy().tobytes())
        self.fingerprint = weights.hexdigest()

    @torch.no_grad()
    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """The states of a waveform `(samples,)`: `(states, width)`, float16, the chosen layers side by side."""
        starts = range(0, max(len(waveform), 1), self._limit)
        return np.concatenate([self._piece(waveform[start : start + self._limit]) for start in starts])

    def _piece(self, samples: np.ndarray) -> np.ndarray:
        """The states of samples that fit into a window."""
        count, padding = -(-len(samples) // self._step), {}
        if self._positions is None:
            samples = np.pad(samples, (0, max(self.sampling_rate // 10 - len(samples), 0)))  # Some have no state.
        else:
            unit = WINDOW_SECONDS * self.sampling_rate
            window = min(-(-max(len(samples), 1) // unit) * unit, self._limit)
            padding = {"padding": "max_length", "max_length": window}
            positions = self._positions[: window // self._step]
            self._encoder.embed_positions = torch.nn.Embedding.from_pretrained(positions)
            self._encoder.config.max_source_positions = len(positions)  # Which it compares with its input.
        found = self._extractor(samples, sampling_rate=self.sampling_rate, return_tensors="pt", **padding)
        inputs = found[self._encoder.main_input_name].to(self._encoder.device)
        states = self._encoder(inputs, output_hidden_states=True).hidden_states
        chosen = [F.layer_norm(states[layer][0], states[layer].shape[-1:]) for layer in self.layers]
        return torch.cat(chosen, dim=-1)[:count].half().cpu().numpy()

    def states_of(self, source: Mapping[str, Any]) -> np.ndarray:
        """The states of a recording, as a row of a corpus has it."""
        return self(read_audio(source, self.sampling_rate))


class CachedStates:
    """The states of each recording of a split, in the cache; an interrupted computation goes on where it stopped.

    Args:
        teacher: The teacher.
        audio: The column of the split.
        durations: Seconds of each recording.

    Raises:
        TrainingError: If there is no space for them.
    """

    def __init__(self, teacher: TeacherEncoder, audio: Sequence[Mapping[str, Any]], durations: Sequence[float]) -> None:
        folder = cache_dir() / "states" / digest(audio, FORMAT_VERSION, teacher.fingerprint, teacher.layers)
        size = int(sum(durations) * teacher.rate * teacher.width * 2)
        try:
            with build_once(folder, resumes=True) as part:
                if part is not None:
                    done = sum(file.stat().st_size for file in part.iterdir())
                    if size - done > shutil.disk_usage(part).free:
                        raise OSError("No space left")
                    what = f"The states of {teacher.name} for {len(audio):,} recordings ({sum(durations) / 3600:.2f} h)"
                    print(f"{what} take about {file_size(size)} in {folder}", flush=True)
                    _write(teacher, audio, part)
        except OSError as error:
            if not disk_is_full(error, folder.parent):
                raise
            raise TrainingError(
                f"The states of the teacher take about {file_size(size)}, for which there is no space in the cache "
                f"folder {folder.parent}: set HF_SPEECH_CACHE to another disk, choose fewer layers, or set "
                "training.teacher.cache to false."
            ) from error
        self._ends = np.cumsum(np.fromfile(folder / LENGTHS_FILE, np.int64))
        self.states = np.memmap(folder / STATES_FILE, np.float16, "r").reshape(-1, teacher.width)

    def __call__(self, row: int) -> np.ndarray:
        """The states `(states, width)` of a recording, float16, mapped into memory."""
        return self.states[0 if row == 0 else self._ends[row - 1] : self._ends[row]]


def _write(teacher: TeacherEncoder, audio: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Appends the states of the recordings that are missing, and the length of each after them."""
    paths = folder / STATES_FILE, folder / LENGTHS_FILE
    for path in paths:
        path.touch()
    with paths[0].open("r+b") as states, paths[1].open("r+b") as lengths:
        whole = np.fromfile(lengths, np.int64)
        if states.seek(0, os.SEEK_END) < whole.sum() * teacher.width * 2:
            whole = whole[:0]  # The machine was switched off before they were on the disk.
        for file, end in ((states, int(whole.sum()) * teacher.width * 2), (lengths, whole.nbytes)):
            file.truncate(end)  # What was cut off in the middle.
            file.seek(end)
        left = audio[len(whole) :]
        progress = progress_bar(
            left, "Computing the teacher's states", initial=len(whole), total=len(audio), leave=False
        )
        for source in progress:
            found = teacher.states_of(source)
            states.write(found.tobytes())
            states.flush()
            lengths.write(np.int64(len(found)).tobytes())
            lengths.flush()


__all__ = ["CachedStates", "TeacherEncoder"]
