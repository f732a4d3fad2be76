"""Corpora: rows become Parquet files with a card, in a data set that `datasets.load_dataset` reads.

Decisions:

- Recordings travel as they are, byte for byte, if browsers play them; others (NIST SPHERE, decoded samples) are written
  as 16-bit FLAC. Of their paths only the file's name goes along.
- Every recording is inspected before anything is written, as before a training.
- A Parquet file holds so many recordings that it stays below a size, and the same rows always give the same bytes.
- Verified is that the downloaded files, read by `load_dataset`, have every recording and target of the corpus.
"""

from __future__ import annotations

import hashlib
import io
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import soundfile
import yaml
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, Value, load_dataset

from hf_speech.data.audio import audio_info, read_audio
from hf_speech.data.corpora import Corpus
from hf_speech.data.corpora.base import AUDIO_FEATURE
from hf_speech.data.inspection import inspect_corpus
from hf_speech.errors import AudioError, PublishError
from hf_speech.publishing.card import _environment, templates_dir
from hf_speech.publishing.hub import Repository
from hf_speech.publishing.licences import check_name
from hf_speech.publishing.presentation import corpus_facts
from hf_speech.publishing.presentation import duration as format_duration
from hf_speech.publishing.publish import Published, Tell, describe, published_state, published_text
from hf_speech.publishing.push import finish, push
from hf_speech.publishing.sections import hand_written, section
from hf_speech.publishing.staging import stage
from hf_speech.publishing.verify import Copy, Verification, downloaded

PLAYABLE = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus"})
SHARD_BYTES = 200_000_000
# The Hub's classes of size.
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_TASKS = {"label": "audio-classification", "text": "automatic-speech-recognition"}


@dataclass(frozen=True)
class Written:
    """What was written of a corpus.

    Attributes:
        target: `label` or `text`.
        classes: Names of the classes, in the order of their ids.
        sampling_rate: Of all recordings in Hz, None if they differ.
        splits: For each split its name, utterances, seconds, speakers, classes and bytes.
        fingerprints: For each split a checksum over all recordings and their targets.
    """

    target: str
    classes: tuple[str, ...]
    sampling_rate: int | None
    splits: tuple[dict[str, Any], ...]
    fingerprints: dict[str, str]


def publish_corpus(
    corpus: Corpus,
    repo_id: str,
    *,
    licence: str,
    languages: Sequence[str] = (),
    title: str | None = None,
    options: Mapping[str, Any] | None = None,
    public: bool = False,
    tag: str | None = None,
    create_pr: bool = False,
    message: str | None = None,
    dry_run: bool = False,
    verify: bool = True,
    tell: Tell = print,
) -> Published:
    """Publishes a corpus as a data set.

    Args:
        corpus: The corpus.
        repo_id: `NAME/DATASET`.
        licence: The Hub's name of the licence under which the recordings may be passed on.
        languages: BCP-47 codes of what is spoken; by default what the corpus itself says.
        title: What the card calls it.
        options: The corpus's own options, for the card.
        public: Whether everybody is to see it.
        tag: Name of a tag for the commit.
        create_pr: Open a pull request instead of committing.
        message: Title of the commit.
        dry_run: Stop before anything is sent.
        verify: Whether to download the commit again and compare all rows.
        tell: Is called with a line for the user after each step.

    Raises:
        PublishError: If anything must not or cannot be published.
        CorpusError: If the corpus cannot be read, or has bad rows and does not say that they may be left out.
    """
    check_name(licence)
    repository = Repository(repo_id, "dataset")
    state = published_state(repository, tell, dry_run=dry_run)
    rows = corpus.load()
    rows, report = inspect_corpus(rows, corpus, _usual_rate(rows))
    tell(str(report))
    with tempfile.TemporaryDirectory(prefix="hf-speech-publish-") as temporary:
        folder = Path(temporary) / "corpus"
        written = write_parquet(rows, folder)
        text = render_dataset_card(
            written,
            repo_id=repo_id,
            corpus=corpus,
            options=options or {},
            licence=licence,
            languages=languages,
            title=title,
            revision=tag,
            previous=published_text(repository, state, "README.md"),
        )
        staged = stage(folder, Path(temporary) / "staged", repo_id=repo_id, kind="dataset", card=text)
        for note in staged.notes:
            tell(note)
        if dry_run:
            return Published(None, None, text, staged.tree())
        pushed = push(staged, repository, public=public, tag=tag, create_pr=create_pr, message=message)
    tell(describe(pushed))
    verification = None
    if verify:
        tell("Verifying: downloading the commit and reading all of it.")
        with downloaded(repo_id, pushed.commit, "dataset") as copy:
            verification = verify_corpus(copy, written)
        if not verification.ok:
            raise PublishError(
                f"{repo_id}@{pushed.commit[:8]} is not what was sent ({verification.differences[0]}), so it was "
                "neither tagged nor opened: run the same command again."
            )
    if not create_pr:
        pushed = finish(pushed, public=public, tag=tag)
    return Published(pushed, verification, text, staged.tree())


def write_parquet(rows: DatasetDict, folder: Path, shard_bytes: int = SHARD_BYTES) -> Written:
    """Writes the splits of a corpus as `data/SPLIT-00000-of-00001.parquet`.

    Args:
        rows: The splits, with the columns of every corpus of this package.
        folder: Where to write.
        shard_bytes: Size of its recordings at which another file is begun.
    """
    data = folder / "data"
    data.mkdir(parents=True)
    target = next(column for column in _TASKS if column in next(iter(rows.values())).column_names)
    rates: set[int] = set()
    splits, fingerprints = [], {}
    classes: tuple[str, ...] = ()
    for name, split in rows.items():
        feature = split.features[target]
        classes = tuple(feature.names) if isinstance(feature, ClassLabel) else ()
        features = Features(
            {"audio": AUDIO_FEATURE, target: feature, "speaker": Value("string"), "duration": Value("float64")}
        )
        digest = Fingerprint()
        shards: list[Path] = []
        for shard in _shards(_encoded(split, name, rates), shard_bytes):
            for row in shard:
                digest.add(row, target)
            shards.append(data / f"{name}-{len(shards):05d}.parquet")
            columns = {column: [row[column] for row in shard] for column in features}
            table = Dataset.from_dict(columns, features=features)
            # Not decoded: that would need torchcodec. The card declares what it is.
            table.cast_column("audio", Audio(decode=False)).to_parquet(shards[-1])
        for index, path in enumerate(shards):
            path.rename(data / f"{name}-{index:05d}-of-{len(shards):05d}.parquet")
        fingerprints[name] = digest.hexdigest()
        splits.append(
            {
                "name": name,
                "utterances": len(split),
                "length": format_duration(sum(split["duration"])),
                "speakers": len(set(split["speaker"]) - {None}),
                "classes": len(set(split[target])) if classes else 0,
                "bytes": sum(path.stat().st_size for path in data.glob(f"{name}-*")),
            }
        )
    return Written(target, classes, rates.pop() if len(rates) == 1 else None, tuple(splits), fingerprints)


class Fingerprint:
    """A checksum over rows in their order: recordings, names, targets and speakers."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, row: Mapping[str, Any], target: str) -> None:
        """Takes in one row."""
        audio = row["audio"]
        for part in (audio["bytes"], audio["path"], row[target], row["speaker"]):
            content = part if isinstance(part, bytes) else repr(part).encode()
            self._digest.update(hashlib.sha256(content).digest())

    def hexdigest(self) -> str:
        """The checksum of all rows so far."""
        return self._digest.hexdigest()


def render_dataset_card(
    written: Written,
    *,
    repo_id: str,
    corpus: Corpus,
    options: Mapping[str, Any],
    licence: str,
    languages: Sequence[str] = (),
    title: str | None = None,
    revision: str | None = None,
    previous: str | None = None,
) -> str:
    """Renders the card of a data set.

    Args:
        written: What was written.
        repo_id: `NAME/DATASET`.
        corpus: Where the rows come from.
        options: Its options.
        licence: The Hub's name of the licence.
        languages: BCP-47 codes of what is spoken.
        title: Its title; None for the corpus's own.
        revision: At which tag the example loads it.
        previous: The card that is on the Hub now, whose hand-written sections survive.
    """
    facts = corpus_facts(corpus.name, dict(options))
    kept = hand_written(previous or "")
    features = Features(
        {
            "audio": Audio(sampling_rate=written.sampling_rate),
            written.target: ClassLabel(names=list(written.classes)) if written.classes else Value("string"),
            "speaker": Value("string"),
            "duration": Value("float64"),
        }
    )
    total = sum(split["utterances"] for split in written.splits)
    size = sum(split["bytes"] for split in written.splits)
    named = [
        {"name": split["name"], "num_bytes": split["bytes"], "num_examples": split["utterances"]}
        for split in written.splits
    ]
    name = title or (facts.title if facts.homepage else repo_id.rpartition("/")[2])
    metadata: dict[str, Any] = {
        "license": licence,
        "language": list(languages) or facts.languages,
        "pretty_name": name,
        "task_categories": [_TASKS[written.target]],
        "size_categories": [next((word for limit, word in _SIZES if total < limit), "1M<n<10M")],
        "tags": ["audio", "speech"],
        "dataset_info": {
            "features": features._to_yaml_list(),
            "splits": named,
            "download_size": size,
            "dataset_size": size,
        },
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split["name"], "path": f"data/{split['name']}-*"} for split in written.splits],
            }
        ],
    }
    if not metadata["language"]:
        del metadata["language"]
    template = f"corpora/{corpus.name}.md.jinja"
    body = (
        _environment(templates_dir())
        .get_template("dataset.md.jinja")
        .render(
            repo_id=repo_id,
            revision=revision,
            title=name,
            corpus=facts,
            corpus_template=template if (templates_dir() / template).is_file() else "corpora/other.md.jinja",
            splits=written.splits,
            classes=written.classes,
            sampling_rate=written.sampling_rate,
            licence=licence,
            hand_written=lambda name: section(name, kept.get(name, "")),
        )
    )
    front = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    body = re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", body)).strip("\n")
    return f"---\n{front}---\n\n{body}\n"


def verify_corpus(copy: Copy, written: Written) -> Verification:
    """Reads a downloaded data set as `load_dataset` does, and compares it with what was written.

    Args:
        copy: What `downloaded` gave.
        written: What was sent.
    """
    rows = load_dataset(str(copy.folder), cache_dir=str(copy.home / "datasets"))
    found = [f"{len(copy.state.files)} files as the Hub lists them"]
    differences = []
    if list(rows) != [split["name"] for split in written.splits]:
        differences.append(f"its splits are {', '.join(rows)}")
    for name, split in rows.items():
        digest = Fingerprint()
        for row in split.cast_column("audio", Audio(decode=False)):
            digest.add(row, written.target)
        if digest.hexdigest() != written.fingerprints.get(name):
            differences.append(f"the rows of its split {name} are others")
        else:
            found.append(f"{len(split):,} rows of {name} as they were")
    return Verification(copy.repository, copy.state.commit, tuple(found), tuple(differences))


def _usual_rate(rows: DatasetDict) -> int:
    """The sampling rate of the first recording that can be read."""
    for split in rows.values():
        for audio in split["audio"]:
            try:
                return audio_info(audio).sampling_rate
            except AudioError:
                continue
    return 16_000


def _encoded(split: Dataset, name: str, rates: set[int]) -> Iterator[dict[str, Any]]:
    """The rows with the recordings as bytes of a format that browsers play, and no path but a file's name."""
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
    """Rows in groups whose recordings reach a size."""
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


__all__ = ["Written", "publish_corpus", "render_dataset_card", "verify_corpus", "write_parquet"]
