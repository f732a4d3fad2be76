"""Synthesized speech: a corpus that needs no recordings, for any list of words or sentences.

A model trained on it works well for synthetic voices, less so for human ones. Use it to try a recipe, a model or
an idea in a minute, or where nobody has recorded what a model should recognize; the other corpora in this folder are
recordings.

Everything follows from the options, the seed included, so the corpus is kept in the cache under a digest of them. It
is made in shards, each once, so that an interrupted run goes on where it stopped.
Train, validation and test share no speaker, timbre (`voices`) or, by default, sentence. Loudness,
light noise and silence around the speech vary, so that a model cannot rely on them. An utterance for which a voice
gives no sound is tried again in other ways, and else left out and counted.
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
from hf_speech.data.audio import resample
from hf_speech.data.cache import build_once, cache_dir
from hf_speech.data.corpora.base import SPLITS, ListedCorpus
from hf_speech.data.corpora.fsdd import DIGITS
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.data.voices import ENGINES, ENGLISH_ACCENTS, NORMAL_PACE, Job, Speaker, cast_speakers, find_engine
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
# A neural voice may give no sound for a short text. What is tried in turn: the text, the text as a sentence, and as a
# sentence at the normal pace.
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
        data_dir: Folder in which the corpus is kept; the cache if not given.
        words: The words to speak, one class per word.
        sentences: Sentences to speak instead, for transcription.
        sentence_fraction: Share of the sentences for validation only, and for test only; with 0, every speaker of every
            split says each sentence, as each word.
        spoken_as: Words that voices mispronounce, and how they are written for the voices ({RUBOUT: rub out}); the
            transcripts keep them as they are.
        voices: Accents or languages by eSpeak NG's names, and neural voices: "piper:FILE.onnx" (or a folder of them)
            and "kokoro:FOLDER". Each synthesizer has an equal part of the speakers, unless `shares` says otherwise.
        shares: Parts of the speakers by synthesizer, in relation to each other, 1 for those that are not named
            ({kokoro: 0.2}, which is slow).
        validation_voices: Voices of the validation split; null for some of voices that then nobody else has.
        test_voices: Voices of the test split, likewise.
        train_speakers: Speakers of the training split.
        validation_speakers: Speakers of the validation split, all others than in training.
        test_speakers: Speakers of the test split, all others than in training and validation.
        repetitions: Times that each speaker says each word, or that each sentence is read, by a speaker drawn anew.
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
        """The cached corpus of these options, made first if it is not there."""
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
            self.notes.append(f"Left out, because the voice gave no sound: {silent.total():,} utterances of {voices}.")
        return splits

    def label_names(self, labels: set[str]) -> list[str]:
        """The words in the order in which they were given."""
        return [] if self.sentences is not None else list(self.words)

    def _voices(self) -> dict[str, list[str]]:
        """The voices that each split may use."""
        own = {"train": None, "validation": self.validation_voices, "test": self.test_voices}
        return {split: self.voices if voices is None else voices for split, voices in own.items()}

    def _check(self) -> None:
        for option in ("train_speakers", "validation_speakers", "test_speakers", "repetitions"):
            if not 1 <= getattr(self, option) <= _MOST:
                raise CorpusError(f"{option} is {getattr(self, option)}: give a number from 1 to {_MOST}.")
        if not all(self._voices().values()):
            raise CorpusError("The synthetic corpus has no voices: give at least one, such as 'en-us'.")
        open_ended = self.sentences is not None and self.sentence_fraction > 0
        texts, least = (self.words if self.sentences is None else self.sentences), 3 if open_ended else 2
        kind = "words" if self.sentences is None else "sentences"
        if len(texts) < least:
            raise CorpusError(f"The synthetic corpus has {len(texts)} {kind}: give at least {least}.")
        if len(set(texts)) < len(texts):
            raise CorpusError(f"The synthetic corpus has the same twice in its {kind}: give each once.")
        if not all(any(character.isalnum() for character in text) for text in texts):
            raise CorpusError(f"The synthetic corpus has {kind} without a letter or digit: give what can be said.")

    def _digest(self) -> str:
        """Names the corpus by everything that its sounds depend on."""
        options: tuple[Any, ...] = (
            *(FORMAT_VERSION, self.seed, self.words if self.sentences is None else None, self.sentences, self.voices),
            *(self.train_speakers, self.validation_speakers, self.test_speakers, self.repetitions),
        )
        voices = [find_engine(voice) for names in self._voices().values() for voice in names]
        files = [(f.name, f.stat().st_size) for engine, source in voices for f in engine.files(source)]
        added = (self.sentence_fraction, self.validation_voices, self.test_voices, files)
        # What was made before these options existed keeps its name.
        options += added if added != (_SENTENCE_SHARE, None, None, []) else ()
        options += tuple(sorted(given.items()) for given in (self.spoken_as, self.shares) if given)
        return digest_data(*options)[:16]

    def _plan(self, rng: np.random.Generator) -> list[tuple[str, str, Speaker]]:
        """What is said, in order: split, text and speaker."""
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
        """Synthesizes everything into a folder: wav files and their manifest.

        Each shard is made beside the folder and moved into it when all are there.
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
        places = [folder.with_name(f"{folder.name}-{number:04d}") for number in range(len(shards))]
        for number, (place, (engine, indices)) in enumerate(zip(places, shards, strict=True)):
            with build_once(place) as shard:
                if shard is not None:
                    own = rng if number == 0 else np.random.default_rng((self.seed, number))
                    self._speak(shard, engine, {index: plan[index] for index in indices}, own, bar.update)
                else:
                    bar.update(len(indices))
        bar.close()
        rows = []
        for number, place in enumerate(places):
            for line in (place / MANIFEST).read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                rows.append(row | {"file": row["file"] and f"{number:04d}/{row['file']}"})
            place.rename(part / f"{number:04d}")
            place.with_name(f"{place.name}.lock").unlink(missing_ok=True)
        rows.sort(key=lambda row: row.pop("index"))
        for split in SPLITS:
            found = [row for row in rows if row["split"] == split]
            if all(row["file"] is None for row in found):
                title = ENGINES[found[0]["voice"]].title
                raise CorpusError(
                    f"{title} says nothing for {found[0]['text']!r}, nor for anything else in the {split} split: name "
                    "other voices, or write the text as it is spoken."
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
        """Synthesizes one shard; `count` is told how many utterances have been done."""
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
