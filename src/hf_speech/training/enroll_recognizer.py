"""Adds a keyword to a recognizer, which then detects it by its phones, or by its letters if it predicts no phones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hf_speech.common.console import echo
from hf_speech.common.text import counted, plural
from hf_speech.data.audio import AudioSource, read_audio
from hf_speech.data.augmentation import Augmentation
from hf_speech.data.cache import build_once, cache_dir, digest
from hf_speech.data.corpora.excerpts import cut_folder
from hf_speech.data.corpora.keywords import OTHER
from hf_speech.decoding import find_peaks
from hf_speech.decoding.keywords import REFRACTORY_FRAMES
from hf_speech.decoding.patterns import PATTERNS, Pattern, save_patterns
from hf_speech.errors import AudioError, CorpusError, RecipeError
from hf_speech.evaluation.thresholds import TunedThresholds, thresholds_for
from hf_speech.inference import LoadedModel, predict
from hf_speech.inference.decoders import LEXICON, load_lexicon
from hf_speech.inference.listening import keyword_model
from hf_speech.models import SpeechProcessor
from hf_speech.tasks import Record
from hf_speech.tasks.keyword_spotting import THRESHOLDS
from hf_speech.training import run_folder
from hf_speech.training.patterns import find_pattern, score_recordings
from hf_speech.training.run import TrainingResult

NEGATIVE_SECONDS = 60.0
"""Maximum length of a piece of a negative recording."""


@dataclass(frozen=True)
class RecordingLogits:
    """The logits of recordings.

    Attributes:
        logits: Those of each recording, `(frames, symbols)`.
        seconds: Their durations.
        skipped: A sentence about each recording that cannot be read.
    """

    logits: list[np.ndarray]
    seconds: list[float]
    skipped: list[str] = field(default_factory=list)


def enroll_in_recognizer(
    loaded: LoadedModel,
    word: str,
    clips: Sequence[Path],
    negatives: Sequence[str],
    validation_negatives: Sequence[str],
    run_dir: Path,
    *,
    rate: float,
    overwrite: bool,
    command: str,
) -> tuple[TrainingResult, TunedThresholds]:
    """Saves a copy of a recognizer with the pattern and the threshold of a keyword.

    Args:
        loaded: The recognizer, which can stream.
        word: The keyword.
        clips: Recordings of it.
        negatives: Folders of recordings without it.
        validation_negatives: Folders of others, for the threshold; if empty, `negatives` are used again.
        run_dir: The new folder.
        rate: False alarms per hour for which the threshold is chosen.
        overwrite: Whether to replace the folder of an enrolled keyword.
        command: The command line, for the records.

    Raises:
        AudioError: If a clip cannot be read.
        CorpusError: If too little is recognized in the clips, or no negative can be read.
        RecipeError: If the folder exists.
    """
    start = time.perf_counter()
    if run_dir.is_dir() and any(run_dir.iterdir()):
        if not overwrite:
            raise RecipeError(f"{run_dir} exists: add --overwrite to replace it, or --output_dir for another folder.")
        if not (run_dir / PATTERNS).is_file():
            raise RecipeError(f"{run_dir} has no enrolled keyword (no {PATTERNS}), so it is not overwritten.")
    model = keyword_model(loaded)
    spoken, others = compute_logits(model, clips), negative_logits(model, negatives, "train_negatives")
    in_context = compute_logits(model, clips_in_context(clips, negatives, model.sampling_rate), "skip")
    pattern = find_pattern(
        spoken.logits, others.logits, model.labels, silent=[loaded.word_delimiter], in_context=in_context.logits
    )
    if pattern is None:
        raise CorpusError(
            f"{loaded.name} recognizes too little in the recordings of {word!r}: speak clearly, or choose a "
            "longer keyword."
        )
    if validation_negatives:
        others = negative_logits(model, validation_negatives, "validation_negatives")
    records = [*detection_records(pattern, word, word, spoken, model.labels)]
    records += detection_records(pattern, word, OTHER, others, model.labels)
    tuned = thresholds_for(records, [word], rate)
    run_dir.mkdir(parents=True, exist_ok=True)
    save_patterns(run_dir, {word: pattern})  # First, because only a folder with a pattern may be overwritten.
    loaded.model.save_pretrained(run_dir)
    SpeechProcessor(loaded.feature_extractor, loaded.tokenizer).save_pretrained(run_dir)
    if (lexicon := load_lexicon(loaded)) is not None:
        lexicon.save(run_dir / LEXICON)
    tuned.options.save(run_dir, corpus="keywords", command=command, **tuned.origin(rate))
    run_folder.share(run_dir)
    return TrainingResult(run_dir, loaded.model.num_parameters(), time.perf_counter() - start), tuned


def clips_in_context(clips: Sequence[Path], negatives: Sequence[str], rate: int) -> list[dict[str, Any]]:
    """Puts clips between random segments of negatives, without the silence around their words.

    Args:
        clips: Recordings of a keyword.
        negatives: Folders of recordings without it.
        rate: The sampling rate of the result in Hz.

    Returns:
        The waveform of each clip, without those for which it or a negative cannot be read.
    """
    surround = Augmentation(
        probability=1.0,
        trim=35.0,
        context_folders=[str(Path(folder).expanduser()) for folder in negatives],
        context_before=(1.0, 3.0),
        context_after=(0.5, 1.0),
    )
    rng = np.random.default_rng(0)
    waveforms = []
    for clip in clips:
        with suppress(AudioError):
            waveforms.append({"array": surround(read_audio(clip, rate), rate, rng), "sampling_rate": rate})
    return waveforms


def compute_logits(
    model: LoadedModel, files: Sequence[AudioSource], bad_rows: Literal["refuse", "skip"] = "refuse"
) -> RecordingLogits:
    """Computes the logits of recordings.

    Raises:
        AudioError: If a recording cannot be read, and `bad_rows` is "refuse".
    """
    outputs = RecordingLogits([], [])
    for prediction in predict(model, files, bad_rows=bad_rows):
        if prediction.logits is None:
            outputs.skipped.append(str(prediction.error))
        else:
            outputs.logits.append(prediction.logits)
            outputs.seconds.append(prediction.duration)
    return outputs


def negative_logits(model: LoadedModel, folders: Sequence[str], key: str) -> RecordingLogits:
    """Computes the logits of the recordings in folders, in pieces, or reads them from the cache.

    Each keyword needs the same ones, so they are kept, in float16: about 7 MB per hour.

    Args:
        model: The model, from `keyword_model`.
        folders: The folders.
        key: The option that names them, for errors.

    Raises:
        CorpusError: If a folder has no recordings, or none of them can be read.
    """
    files = [path for folder in folders for path, _ in cut_folder(folder, NEGATIVE_SECONDS, key)]
    sources = [{"path": str(path)} for path in files if path.is_file()]
    target = cache_dir() / "logits" / digest(sources, model.fingerprint(phones=True), model.labels)
    with build_once(target) as part:
        if part is not None:
            outputs = compute_logits(model, files, "skip")
            if not outputs.logits:
                raise CorpusError(f"No recording of {key} can be read; the first: {outputs.skipped[0]}")
            np.savez(
                part / "outputs.npz",
                logits=np.concatenate(outputs.logits).astype(np.float16),
                frames=[len(logits) for logits in outputs.logits],
                seconds=outputs.seconds,
                skipped=outputs.skipped,
            )
    with np.load(target / "outputs.npz") as saved:
        pieces = np.split(saved["logits"].astype(np.float32), np.cumsum(saved["frames"])[:-1])
        outputs = RecordingLogits(pieces, saved["seconds"].tolist(), saved["skipped"].tolist())
    if outputs.skipped:
        count = len(outputs.skipped)
        verb = plural(count, "is", "are")
        echo(f"{counted(count, 'recording')} of {key} {verb} skipped, such as: {outputs.skipped[0]}", error=True)
    return outputs


def detection_records(
    pattern: Pattern, word: str, reference: str, outputs: RecordingLogits, labels: Sequence[str]
) -> list[Record]:
    """Returns a record of each recording, as from `KeywordSpotting.score`, with the peaks of a keyword's score.

    Args:
        pattern: The pattern of the keyword.
        word: The keyword.
        reference: The class of the recordings: the keyword or `OTHER`.
        outputs: The logits of the recordings.
        labels: The symbols, in the order of the logits.
    """
    records: list[Record] = []
    all_scores = score_recordings(pattern, outputs.logits, labels)
    for scores, seconds in zip(all_scores, outputs.seconds, strict=True):
        peaks = find_peaks(scores[:, None], REFRACTORY_FRAMES, float(THRESHOLDS[0]))
        record = {"reference": reference, "is_keyword": reference == word, "duration": seconds, "correct": False}
        records.append({**record, "peaks": [[word, frame, score] for frame, _, score in peaks]})
    return records
