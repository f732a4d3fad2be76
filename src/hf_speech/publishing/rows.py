"""Writes the rows of a corpus as Parquet files and computes their checksums.

Recordings that browsers can play are stored unchanged, others (NIST SPHERE, decoded samples) as 16-bit FLAC. Only the
file names of their paths are stored. The same rows always give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import soundfile
from datasets import Audio, ClassLabel, Dataset, DatasetDict

from hf_speech.data.audio import audio_info, read_audio
from hf_speech.data.corpora.base import row_features, target_column
from hf_speech.errors import PublishError
from hf_speech.publishing.card.context import duration

PLAYABLE = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus"})
SHARD_BYTES = 200_000_000


@dataclass(frozen=True)
class WrittenCorpus:
    """A corpus that was written as Parquet files.

    Attributes:
        target: The target column, such as `label` or `text`.
        classes: The names of the classes, in the order of their ids.
        sampling_rate: The sampling rate of all recordings in Hz; None if they differ.
        splits: For each split that is not empty: its name, number of utterances, length, speakers, classes and bytes.
        fingerprints: The checksum of each split.
    """

    target: str
    classes: tuple[str, ...]
    sampling_rate: int | None
    splits: tuple[dict[str, Any], ...]
    fingerprints: dict[str, str]


def write_parquet(rows: DatasetDict, folder: Path, shard_bytes: int = SHARD_BYTES) -> WrittenCorpus:
    """Writes the splits of a corpus that are not empty as `data/SPLIT-00000-of-00001.parquet`.

    Args:
        rows: The splits, with the columns of every corpus of this package.
        folder: The folder to write to.
        shard_bytes: The total size of recordings at which a new file is started.
    """
    data = folder / "data"
    data.mkdir(parents=True)
    target = target_of(next(iter(rows.values())))
    rates: set[int] = set()
    splits, fingerprints = [], {}
    classes: tuple[str, ...] = ()
    for name, split in rows.items():
        if not len(split):  # `load_dataset` fails on a split without a file.
            continue
        feature = split.features[target]
        classes = tuple(feature.names) if isinstance(feature, ClassLabel) else ()
        features = row_features(target, feature)
        digest = hashlib.sha256()
        shards: list[Path] = []
        for shard in _shards(_encoded(split, name, rates), shard_bytes):
            for row in shard:
                add_row(digest, row, target)
            shards.append(data / f"{name}-{len(shards):05d}.parquet")
            columns = {column: [row[column] for row in shard] for column in features}
            table = Dataset.from_dict(columns, features=features)
            # Decoding would need torchcodec. The card declares the real type.
            table.cast_column("audio", Audio(decode=False)).to_parquet(shards[-1])
        for index, path in enumerate(shards):
            path.rename(data / f"{name}-{index:05d}-of-{len(shards):05d}.parquet")
        fingerprints[name] = digest.hexdigest()
        splits.append(
            {
                "name": name,
                "utterances": len(split),
                "length": duration(sum(split["duration"])),
                "speakers": len(set(split["speaker"]) - {None}),
                "classes": len(set(split[target])) if classes else 0,
                "bytes": sum(path.stat().st_size for path in data.glob(f"{name}-*")),
            }
        )
    return WrittenCorpus(target, classes, rates.pop() if len(rates) == 1 else None, tuple(splits), fingerprints)


def add_row(digest: hashlib._Hash, row: Mapping[str, Any], target: str) -> None:
    """Adds a recording, its file name, target and speaker to the checksum of its split."""
    audio = row["audio"]
    for part in (audio["bytes"], audio["path"], row[target], row["speaker"]):
        digest.update(hashlib.sha256(part if isinstance(part, bytes) else repr(part).encode()).digest())


def target_of(split: Dataset) -> str:
    """Returns the target column of a split."""
    column = target_column(split)
    if column is None:
        raise PublishError(f"The dataset has no target column, only {', '.join(split.column_names)}: add one.")
    return column


def fingerprints_of(rows: DatasetDict) -> dict[str, str]:
    """Computes the checksum of each split of a dataset, as in `WrittenCorpus`."""
    found = {}
    for name, split in rows.items():
        target = target_of(split)
        digest = hashlib.sha256()
        for row in split.cast_column("audio", Audio(decode=False)):
            add_row(digest, row, target)
        found[name] = digest.hexdigest()
    return found


def _encoded(split: Dataset, name: str, rates: set[int]) -> Iterator[dict[str, Any]]:
    """Yields the rows with recordings as bytes in a format that browsers can play, and file names as paths."""
    for index, row in enumerate(split):
        audio = row["audio"]
        rates.add(rate := audio_info(audio).sampling_rate)
        path = PurePath(audio.get("path") or f"{name}-{index:06d}")
        if path.suffix.lower() in PLAYABLE:
            content = audio["bytes"] if audio.get("bytes") is not None else Path(audio["path"]).read_bytes()
            file = path.name
        else:
            buffer = io.BytesIO()
            soundfile.write(buffer, read_audio(audio, rate), rate, format="FLAC", subtype="PCM_16")
            content, file = buffer.getvalue(), f"{path.stem}.flac"
        yield {**row, "audio": {"path": file, "bytes": content}}


def _shards(rows: Iterator[dict[str, Any]], shard_bytes: int) -> Iterator[list[dict[str, Any]]]:
    """Groups rows until their recordings reach a size."""
    shard: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        shard.append(row)
        size += len(row["audio"]["bytes"])
        if size >= shard_bytes:
            yield shard
            shard, size = [], 0
    if shard:
        yield shard
