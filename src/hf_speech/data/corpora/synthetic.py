"""Speech synthesized by eSpeak NG: a corpus that needs no download, for any list of words or sentences.

A model trained on it works well for synthetic voices, less so for human ones. Use it to try a recipe, a model or
an idea in a minute; the other corpora in this folder are recordings.

Everything follows from the options, the seed included, so the corpus is kept in the cache under a digest of them.
Train, validation and test share no speaker, timbre (`voices`) or sentence. Loudness,
light noise and silence around the speech vary, so that a model cannot rely on them.
"""

from __future__ import annotations

import importlib.util
import json
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import soundfile

from hf_speech.common.digests import digest_data
from hf_speech.common.progress import progress_bar
from hf_speech.data.audio import resample
from hf_speech.data.cache import build_once, cache_dir
from hf_speech.data.corpora.base import SPLITS, ListedCorpus
from hf_speech.data.corpora.fsdd import DIGITS
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.data.corpora.voices import ENGLISH_ACCENTS, Speaker, cast_speakers
from hf_speech.errors import CorpusError

# Part of the digest: to be raised whenever the same options give other sounds.
FORMAT_VERSION = 1
SAMPLING_RATE = 16_000
MANIFEST = "utterances.jsonl"

_LEVEL_RANGE_DB = (-32.0, -16.0)  # RMS of the speech below full scale
_SNR_RANGE_DB = (15.0, 40.0)
_LONGEST_SILENCE = 0.15  # seconds at either end
_PACE_VARIATION, _PITCH_VARIATION = 0.08, 4  # of one speaker, from utterance to utterance
_MOST = 1000  # speakers of a split, and repetitions
_SENTENCE_SHARE = 0.1  # of the sentences for validation, and for test


@dataclass(kw_only=True)
class Synthetic(ListedCorpus):
    """Words or sentences spoken by eSpeak NG.

    Args:
        data_dir: Folder in which the corpus is kept; the cache if not given.
        words: The words to speak, one class per word.
        sentences: Sentences to speak instead, for transcription; a tenth each is reserved for validation and for
            test.
        voices: eSpeak NG's names of the accents or languages.
        train_speakers: Speakers of the training split.
        validation_speakers: Speakers of the validation split, all others than in training.
        test_speakers: Speakers of the test split, all others than in training and validation.
        repetitions: Times that each speaker says each word, or that each sentence is read, by a speaker drawn anew.
    """

    name: ClassVar[str] = "synthetic"
    title: ClassVar[str] = "speech synthesized by eSpeak NG"
    homepage: ClassVar[str | None] = "https://github.com/espeak-ng/espeak-ng"

    words: list[str] = field(default_factory=lambda: list(DIGITS))
    sentences: list[str] | None = None
    voices: list[str] = field(default_factory=lambda: list(ENGLISH_ACCENTS))
    train_speakers: int = 48
    validation_speakers: int = 8
    test_speakers: int = 10
    repetitions: int = 4

    def splits(self) -> dict[str, list[Utterance]]:
        """The cached corpus of these options, made first if it is not there."""
        self._check()
        root = cache_dir() / "synthetic" if self.data_dir is None else Path(self.data_dir).expanduser()
        folder = root / f"espeak-{self._digest()}"
        with build_once(folder) as part:
            if part is not None:
                self._make(part)
        column = "label" if self.sentences is None else "text"
        splits: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
        for line in (folder / MANIFEST).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            utterance = Utterance(
                folder / row["file"], speaker=row["speaker"], duration=row["duration"], **{column: row["text"]}
            )
            splits[row["split"]].append(utterance)
        return splits

    def label_names(self, labels: set[str]) -> list[str]:
        """The words in the order in which they were given."""
        return [] if self.sentences is not None else list(self.words)

    def _check(self) -> None:
        for option in ("train_speakers", "validation_speakers", "test_speakers", "repetitions"):
            if not 1 <= getattr(self, option) <= _MOST:
                raise CorpusError(f"{option} is {getattr(self, option)}: give a number from 1 to {_MOST}.")
        if not self.voices:
            raise CorpusError("The synthetic corpus has no voices: give at least one, such as 'en-us'.")
        texts, least = (self.words, 2) if self.sentences is None else (self.sentences, 3)
        kind = "words" if self.sentences is None else "sentences"
        if len(texts) < least:
            raise CorpusError(f"The synthetic corpus has {len(texts)} {kind}: give at least {least}.")
        if len(set(texts)) < len(texts):
            raise CorpusError(f"The synthetic corpus has the same twice in its {kind}: give each once.")
        if not all(any(character.isalnum() for character in text) for text in texts):
            raise CorpusError(f"The synthetic corpus has {kind} without a letter or digit: give what can be said.")

    def _digest(self) -> str:
        """Names the corpus by everything that its sounds depend on."""
        options = (
            *(FORMAT_VERSION, self.seed, self.words if self.sentences is None else None, self.sentences, self.voices),
            *(self.train_speakers, self.validation_speakers, self.test_speakers, self.repetitions),
        )
        return digest_data(*options)[:16]

    def _plan(self, rng: np.random.Generator) -> list[tuple[str, str, Speaker]]:
        """What is said, in order: split, text and speaker."""
        counts = (self.train_speakers, self.validation_speakers, self.test_speakers)
        cast = cast_speakers(dict(zip(SPLITS, counts, strict=True)), self.voices, rng)
        if self.sentences is None:
            return [
                (split, word, speaker)
                for split, speakers in cast.items()
                for speaker in speakers
                for word in self.words
                for _ in range(self.repetitions)
            ]
        sentences = [self.sentences[index] for index in rng.permutation(len(self.sentences))]
        share = max(1, round(len(sentences) * _SENTENCE_SHARE))
        texts = {"test": sentences[:share], "validation": sentences[share : 2 * share], "train": sentences[2 * share :]}
        return [
            (split, text, cast[split][rng.integers(len(cast[split]))])
            for split in SPLITS
            for text in texts[split]
            for _ in range(self.repetitions)
        ]

    def _make(self, folder: Path) -> None:
        """Synthesize everything into a folder: wav files and their manifest."""
        rng = np.random.default_rng(self.seed)
        plan = self._plan(rng)
        jobs = []
        for _, text, speaker in plan:
            pace = round(speaker.pace * rng.uniform(1 - _PACE_VARIATION, 1 + _PACE_VARIATION))
            pitch = speaker.pitch + int(rng.integers(-_PITCH_VARIATION, _PITCH_VARIATION, endpoint=True))
            jobs.append((text, speaker.voice, pitch, pace))
        progress = progress_bar(synthesize(jobs), desc="Synthesizing speech", total=len(jobs), unit="utterance")
        rows: list[dict[str, Any]] = []
        for (split, text, speaker), (samples, rate) in zip(plan, progress, strict=True):
            if not samples.any():
                raise CorpusError(f"eSpeak NG says nothing for {text!r} in the voice {speaker.voice!r}: leave it out.")
            recording = record(resample(samples / 32768, rate, SAMPLING_RATE), rng)
            file = f"{split}/{speaker.name}/{len(rows):06d}.wav"
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / file, recording, SAMPLING_RATE, subtype="PCM_16")
            duration = len(recording) / SAMPLING_RATE
            rows.append({"split": split, "file": file, "text": text, "speaker": speaker.name, "duration": duration})
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (folder / MANIFEST).write_text("".join(lines), encoding="utf-8")


def record(speech: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Play clean speech in a quiet room: another loudness, short silences around it, and light white noise.

    Args:
        speech: Float samples `(samples,)` at `SAMPLING_RATE`, not silent.
        rng: Source of all variation.

    Returns:
        Float32 samples, longer by the silences, within [-1, 1].
    """
    level, snr = rng.uniform(*_LEVEL_RANGE_DB), rng.uniform(*_SNR_RANGE_DB)
    before, after = (int(rng.uniform(0, _LONGEST_SILENCE) * SAMPLING_RATE) for _ in range(2))
    rms = 10 ** (level / 20)
    padded = np.pad(speech * (rms / np.sqrt(np.mean(speech**2))), (before, after))
    noisy = padded + rng.normal(0, rms * 10 ** (-snr / 20), len(padded))
    return (noisy / max(1.0, np.abs(noisy).max())).astype(np.float32)


def synthesize(jobs: list[tuple[str, str, int, int]]) -> Iterator[tuple[np.ndarray, int]]:
    """Speak with eSpeak NG, in a fresh process, so that equal jobs give equal bytes.

    Args:
        jobs: Text, voice, pitch (0 to 99) and pace (words per minute) of each utterance.

    Yields:
        Int16 samples `(samples,)` and their rate in Hz.

    Raises:
        CorpusError: If eSpeak NG is not installed, or fails.
    """
    if importlib.util.find_spec("espeakng_loader") is None:
        raise CorpusError(
            "The synthetic corpus needs eSpeak NG, which is not installed: pip install 'hf_speech[synthetic]'."
        )
    worker = Path(__file__).with_name("espeak_worker.py")
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as complaints:
        jobs_file = Path(folder) / "jobs.json"
        jobs_file.write_text(json.dumps(jobs), encoding="utf-8")
        # -P: the worker's own folder is not searched for modules, where our csv.py would hide the standard one.
        command = [sys.executable, "-P", str(worker), str(jobs_file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints) as process:
            spoken = 0
            for utterance in _read_spoken(process.stdout):
                yield utterance
                spoken += 1
            status = process.wait()
        if status != 0 or spoken < len(jobs):
            complaints.seek(0)
            reason = complaints.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise CorpusError(f"eSpeak NG stopped after {spoken} of {len(jobs)} utterances: {reason or status}.")


def _read_spoken(stream: Any) -> Iterator[tuple[np.ndarray, int]]:
    """Take apart what `espeak_worker` writes: int16 samples `(samples,)` and their rate in Hz, one utterance a time."""
    header = stream.read(4)
    while len(count := stream.read(4)) == 4:
        samples = np.frombuffer(stream.read(2 * struct.unpack("<I", count)[0]), dtype="<i2")
        yield samples, struct.unpack("<I", header)[0]
