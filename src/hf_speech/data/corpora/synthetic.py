"""Synthesized speech for any list of words or sentences.

A model trained on it works well for synthetic voices, and less well for human ones. Use it to try a recipe, a model or
an idea in a minute, or if there are no recordings of the words to recognize.

The corpus depends only on its options, including the seed, and is cached under a digest of them. It is synthesized in
shards, so that an interrupted run resumes at the last shard. Train, validation and test share no speaker, no timbre
(`voices`) and, by default, no sentence. Loudness, light noise and the silence around the speech vary, so that a model
cannot rely on them. If a voice returns silence for a text, variants of the text are tried; if all fail, the utterance
is left out and counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import soundfile

from hf_speech.common.digests import digest_data
from hf_speech.common.progress import progress_bar
from hf_speech.common.ranges import Share
from hf_speech.common.text import counted
from hf_speech.data.audio import resample
from hf_speech.data.cache import build_once, cache_dir
from hf_speech.data.corpora.base import SPLITS, ListedCorpus
from hf_speech.data.corpora.fsdd import DIGITS
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.data.voices import ENGINES, ENGLISH_ACCENTS, NORMAL_PACE, Job, Speaker, cast_speakers, find_engine
from hf_speech.errors import CorpusError

# Part of the digest: increase it when the audio for the same options changes.
FORMAT_VERSION = 1
SAMPLING_RATE = 16_000
MANIFEST = "utterances.jsonl"

_LEVEL_RANGE_DB = (-32.0, -16.0)  # RMS of the speech below full scale
_SNR_RANGE_DB = (15.0, 40.0)
_MAX_SILENCE = 0.15  # seconds before and after the speech
_PACE_VARIATION, _PITCH_VARIATION = 0.08, 4  # between utterances of a speaker
_MAX_COUNT = 1000  # of the speakers of a split, and of repetitions
# A neural voice may return silence for a short text. These variants are tried in turn: the text, the text as a
# sentence, and the sentence at the normal pace.
_ATTEMPTS: tuple[Callable[[Job], Job], ...] = (
    lambda job: job,
    lambda job: (f"{job[0].rstrip('.!?')}.", job[1]),
    lambda job: (f"{job[0].rstrip('.!?')}.", replace(job[1], pace=NORMAL_PACE)),
)
_SENTENCE_SHARE = 0.1


@dataclass(kw_only=True)
class Synthetic(ListedCorpus):
    """Words or sentences spoken by synthetic voices.

    Args:
        data_dir: Folder to store the corpus in; the cache if not given.
        words: The words to speak, one class per word.
        sentences: Sentences to speak instead, for transcription.
        sentence_fraction: Share of the sentences that is used only for validation, and the same share only for test.
            With 0, every speaker of every split speaks every sentence, as with words.
        spoken_as: Words that voices mispronounce, with their spelling for the voices ({RUBOUT: rub out}). Transcripts
            keep the original spelling.
        voices: Accents or languages as named by eSpeak NG, and neural voices: "piper:FILE.onnx" (or a folder of them)
            and "kokoro:FOLDER". Each synthesizer has an equal number of speakers, unless shares is set.
        shares: Relative shares of the speakers by synthesizer, such as {kokoro: 0.2} for a slow one; 1 for synthesizers
            that are not listed.
        validation_voices: Voices of the validation split; null to take some of voices, exclusively.
        test_voices: Voices of the test split; null to take some of voices, exclusively.
        train_speakers: Number of speakers of the training split.
        validation_speakers: Number of speakers of the validation split, none of whom are in training.
        test_speakers: Number of speakers of the test split, none of whom are in training or validation.
        repetitions: Number of times that each speaker speaks each word, or that each sentence is spoken, each time by a
            random speaker.
    """

    name: ClassVar[str] = "synthetic"
    title: ClassVar[str] = "synthesized speech"
    homepage: ClassVar[str | None] = "https://github.com/espeak-ng/espeak-ng"

    words: list[str] = field(default_factory=lambda: list(DIGITS))
    sentences: list[str] | None = None
    sentence_fraction: Share = _SENTENCE_SHARE
    spoken_as: dict[str, str] = field(default_factory=dict)
    voices: list[str] = field(default_factory=lambda: list(ENGLISH_ACCENTS))
    shares: dict[str, float] = field(default_factory=dict)
    validation_voices: list[str] | None = None
    test_voices: list[str] | None = None
    train_speakers: int = 48
    validation_speakers: int = 8
    test_speakers: int = 10
    repetitions: int = 4

    def splits(self) -> dict[str, list[Utterance]]:
        """Returns the corpus of these options from the cache, after synthesizing it if needed."""
        self._check()
        root = cache_dir() / "synthetic" if self.data_dir is None else Path(self.data_dir).expanduser()
        folder = root / f"espeak-{self._digest()}"
        with build_once(folder) as part:
            if part is not None:
                self._make(folder, part)
        column = "label" if self.sentences is None else "text"
        splits: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
        counts: Counter[str] = Counter()
        silent: Counter[str] = Counter()
        for line in (folder / MANIFEST).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["file"] is None:
                silent[row["speaker"]] += 1
                continue
            utterance = Utterance(
                folder / row["file"], speaker=row["speaker"], duration=row["duration"], **{column: row["text"]}
            )
            splits[row["split"]].append(utterance)
            if row["split"] == "train":
                counts[row.get("voice", "espeak")] += 1
        if counts.keys() != {"espeak"}:
            parts = (f"{count / counts.total():.0%} {voice}" for voice, count in counts.most_common())
            self.notes.append(f"Voices of the training split: {', '.join(parts)}.")
        if silent:
            voices = ", ".join(f"{voice} ({count:,})" for voice, count in silent.most_common())
            self.notes.append(
                f"{counted(silent.total(), 'utterance was', 'utterances were')} left out, because the voice gave no "
                f"sound: {voices}."
            )
        return splits

    def label_names(self, labels: set[str]) -> list[str]:
        """Returns the words in the order of the option."""
        return [] if self.sentences is not None else list(self.words)

    def _voices(self) -> dict[str, list[str]]:
        """Returns the voices that each split may use."""
        options = {"train": self.voices, "validation": self.validation_voices, "test": self.test_voices}
        return {split: self.voices if voices is None else voices for split, voices in options.items()}

    def _check(self) -> None:
        for option in ("train_speakers", "validation_speakers", "test_speakers", "repetitions"):
            if not 1 <= getattr(self, option) <= _MAX_COUNT:
                raise CorpusError(f"{option} is {getattr(self, option)}: give a number from 1 to {_MAX_COUNT}.")
        if not all(self._voices().values()):
            raise CorpusError("The synthetic corpus has no voices: give at least one, such as 'en-us'.")
        splits_texts = self.sentences is not None and self.sentence_fraction > 0
        texts, minimum = (self.words if self.sentences is None else self.sentences), 3 if splits_texts else 2
        kind = "words" if self.sentences is None else "sentences"
        if len(texts) < minimum:
            found = counted(len(texts), kind.removesuffix("s"))
            raise CorpusError(f"The synthetic corpus has {found}: give at least {minimum}.")
        if len(set(texts)) < len(texts):
            raise CorpusError(f"The synthetic corpus has duplicate {kind}: give each only once.")
        if not all(any(character.isalnum() for character in text) for text in texts):
            raise CorpusError(f"The synthetic corpus has {kind} without a letter or digit: remove or correct them.")

    def _digest(self) -> str:
        """Returns a digest of everything that the audio depends on."""
        options: tuple[Any, ...] = (
            *(FORMAT_VERSION, self.seed, self.words if self.sentences is None else None, self.sentences, self.voices),
            *(self.train_speakers, self.validation_speakers, self.test_speakers, self.repetitions),
        )
        voices = [find_engine(voice) for names in self._voices().values() for voice in names]
        files = [(f.name, f.stat().st_size) for engine, source in voices for f in engine.files(source)]
        added = (self.sentence_fraction, self.validation_voices, self.test_voices, files)
        # Corpora from before these options existed keep their digests.
        options += added if added != (_SENTENCE_SHARE, None, None, []) else ()
        options += tuple(sorted(given.items()) for given in (self.spoken_as, self.shares) if given)
        return digest_data(*options)[:16]

    def _plan(self, rng: np.random.Generator) -> list[tuple[str, str, Speaker]]:
        """Returns the split, text and speaker of each utterance, in order."""
        counts = (self.train_speakers, self.validation_speakers, self.test_speakers)
        cast = cast_speakers(self._voices(), dict(zip(SPLITS, counts, strict=True)), rng, self.shares)
        if self.sentences is None or self.sentence_fraction == 0:
            return [
                (split, text, speaker)
                for split, speakers in cast.items()
                for speaker in speakers
                for text in self.sentences or self.words
                for _ in range(self.repetitions)
            ]
        sentences = [self.sentences[index] for index in rng.permutation(len(self.sentences))]
        share = min(max(1, round(len(sentences) * self.sentence_fraction)), (len(sentences) - 1) // 2)
        texts = {"test": sentences[:share], "validation": sentences[share : 2 * share], "train": sentences[2 * share :]}
        return [
            (split, text, cast[split][rng.integers(len(cast[split]))])
            for split in SPLITS
            for text in texts[split]
            for _ in range(self.repetitions)
        ]

    def _make(self, folder: Path, part: Path) -> None:
        """Synthesizes the corpus into a folder of wav files with a manifest.

        Shards are built next to `folder` and moved into `part` when all are complete.
        """
        rng = np.random.default_rng(self.seed)
        plan: list[tuple[str, str, Speaker, Speaker]] = []
        for split, text, speaker in self._plan(rng):
            pace = round(speaker.pace * rng.uniform(1 - _PACE_VARIATION, 1 + _PACE_VARIATION))
            pitch = speaker.pitch + int(rng.integers(-_PITCH_VARIATION, _PITCH_VARIATION, endpoint=True))
            plan.append((split, text, speaker, replace(speaker, pace=pace, pitch=pitch)))
        by_engine: dict[str, list[int]] = {}
        for index, (_, _, speaker, _) in enumerate(plan):
            by_engine.setdefault(speaker.engine, []).append(index)
        shards: list[tuple[str, list[int]]] = []
        for engine, indices in by_engine.items():
            size = ENGINES[engine].shard_size
            shards += [(engine, indices[start : start + size]) for start in range(0, len(indices), size)]
        bar = progress_bar(desc="Synthesizing speech", total=len(plan), unit="utterance")
        shard_folders = [folder.with_name(f"{folder.name}-{number:04d}") for number in range(len(shards))]
        for number, (shard_folder, (engine, indices)) in enumerate(zip(shard_folders, shards, strict=True)):
            with build_once(shard_folder) as shard:
                if shard is not None:
                    shard_rng = rng if number == 0 else np.random.default_rng((self.seed, number))
                    self._speak(shard, engine, {index: plan[index] for index in indices}, shard_rng, bar.update)
                else:
                    bar.update(len(indices))
        bar.close()
        rows = []
        for number, shard_folder in enumerate(shard_folders):
            for line in (shard_folder / MANIFEST).read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                rows.append(row | {"file": row["file"] and f"{number:04d}/{row['file']}"})
            shard_folder.rename(part / f"{number:04d}")
            shard_folder.with_name(f"{shard_folder.name}.lock").unlink(missing_ok=True)
        rows.sort(key=lambda row: row.pop("index"))
        for split in SPLITS:
            split_rows = [row for row in rows if row["split"] == split]
            if all(row["file"] is None for row in split_rows):
                title = ENGINES[split_rows[0]["voice"]].title
                raise CorpusError(
                    f"{title} gives no sound for {split_rows[0]['text']!r}, nor for any other text of the {split} "
                    "split: choose other voices, or write the text as it is spoken."
                )
        _write_manifest(part, rows)

    def _spelling(self, text: str) -> str:
        """A text as it is written for the voices."""
        return " ".join(self.spoken_as.get(word, word) for word in text.split()) if self.spoken_as else text

    def _speak(
        self,
        folder: Path,
        engine: str,
        plan: dict[int, tuple[str, str, Speaker, Speaker]],
        rng: np.random.Generator,
        count: Callable[[int], Any],
    ) -> None:
        """Synthesizes one shard, and calls `count` with the number of completed utterances."""
        rows: list[dict[str, Any]] = []
        for attempt in _ATTEMPTS:
            silent = {}
            jobs = [attempt((self._spelling(text), varied)) for _, text, _, varied in plan.values()]
            spoken = ENGINES[engine].speak(jobs)
            for (index, planned), (samples, rate) in zip(plan.items(), spoken, strict=True):
                if not samples.any() or not np.isfinite(samples).all():
                    silent[index] = planned
                    continue
                split, text, speaker, _ = planned
                recording = record(resample(samples, rate, SAMPLING_RATE), rng)
                file = f"{split}/{speaker.name}/{index:06d}.wav"
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(folder / file, recording, SAMPLING_RATE, subtype="PCM_16")
                row = {"index": index, "split": split, "file": file, "text": text, "voice": engine}
                rows.append({**row, "speaker": speaker.name, "duration": len(recording) / SAMPLING_RATE})
                count(1)
            plan = silent
            if not plan:
                break
        for index, (split, text, speaker, _) in plan.items():
            row = {"index": index, "split": split, "file": None, "text": text, "voice": engine}
            rows.append({**row, "speaker": speaker.voice})
        count(len(plan))
        _write_manifest(folder, rows)


def _write_manifest(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (folder / MANIFEST).write_text("".join(lines), encoding="utf-8")


def record(speech: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulates a recording in a quiet room: random loudness, short silence around the speech and light white noise.

    Args:
        speech: Float samples `(samples,)` at `SAMPLING_RATE`, not silent.
        rng: The random generator.

    Returns:
        Float32 samples in [-1, 1], longer by the added silence.
    """
    level, snr = rng.uniform(*_LEVEL_RANGE_DB), rng.uniform(*_SNR_RANGE_DB)
    before, after = (int(rng.uniform(0, _MAX_SILENCE) * SAMPLING_RATE) for _ in range(2))
    rms = 10 ** (level / 20)
    padded = np.pad(speech * (rms / np.sqrt(np.mean(speech**2))), (before, after))
    noisy = padded + rng.normal(0, rms * 10 ** (-snr / 20), len(padded))
    return (noisy / max(1.0, np.abs(noisy).max())).astype(np.float32)
