"""Publishes a corpus as a dataset of Parquet files that `datasets.load_dataset` reads.

Every recording is inspected first, as before training. The checksum of each split is published too, so that anyone can
verify that `load_dataset` returns every recording, target and speaker of the corpus.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import yaml
from datasets import Audio, ClassLabel, DatasetDict, Features, Value, load_dataset
from datasets.exceptions import DatasetsError

from hf_speech.common.hub import Repository
from hf_speech.common.text import counted, plural
from hf_speech.data.audio import audio_info
from hf_speech.data.corpora import Corpus
from hf_speech.data.corpora.base import row_features
from hf_speech.data.inspection import inspect_corpus
from hf_speech.errors import AudioError, PublishError
from hf_speech.publishing.card.corpora import corpus_facts, corpus_template
from hf_speech.publishing.card.templates import find_template, render_template, unmarked
from hf_speech.publishing.checks.licenses import check_name
from hf_speech.publishing.checks.structure import read_metadata
from hf_speech.publishing.delivery import PublishOptions, PublishResult, check_options, deliver, published_state
from hf_speech.publishing.hub.verify import RemoteSnapshot, Verification
from hf_speech.publishing.rows import WrittenCorpus, fingerprints_of, write_parquet
from hf_speech.publishing.staging import stage
from hf_speech.tasks import task_of_columns

FINGERPRINTS = "verification/rows.json"
# The size categories of the Hub.
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def publish_corpus(
    corpus: Corpus,
    repo_id: str,
    *,
    license: str,
    languages: Sequence[str] = (),
    title: str | None = None,
    options: Mapping[str, Any] | None = None,
    **publish_options: Unpack[PublishOptions],
) -> PublishResult:
    """Publishes a corpus as a dataset.

    Args:
        corpus: The corpus.
        repo_id: `NAME/DATASET`.
        license: The name on the Hub of the license under which the recordings may be published.
        languages: BCP-47 codes of the spoken languages; by default those of the corpus.
        title: The title of the dataset on its card.
        options: The options of the corpus, for the card.
        **publish_options: See `PublishOptions`.

    Raises:
        PublishError: If the corpus must not or cannot be published.
        CorpusError: If the corpus cannot be read, or has bad rows that its options do not allow to skip.
    """
    check_name(license)
    repository = Repository(repo_id, "dataset")
    check_options(**publish_options)
    rows = corpus.load()
    rows, report = inspect_corpus(rows, corpus, _usual_rate(rows))
    publish_options.get("notify", print)(str(report))
    with tempfile.TemporaryDirectory(prefix="hf-speech-publish-") as temporary:
        folder = Path(temporary) / "corpus"
        written = write_parquet(rows, folder)
        state = published_state(repository, **publish_options)
        card = render_dataset_card(
            written,
            repo_id=repo_id,
            corpus=corpus,
            options=options or {},
            license=license,
            languages=languages,
            title=title,
            revision=publish_options.get("tag"),
            previous=repository.read_card(state),
        )
        sums = json.dumps(written.fingerprints, indent=2).encode() + b"\n"
        staged = stage(
            folder, Path(temporary) / "staged", repo_id=repo_id, kind="dataset", card=card, extra={FINGERPRINTS: sums}
        )
        return deliver(
            staged,
            repository,
            lambda snapshot: verify_corpus(snapshot, written.fingerprints),
            since=state,
            **publish_options,
        )


def render_dataset_card(
    written: WrittenCorpus,
    *,
    repo_id: str,
    corpus: Corpus,
    options: Mapping[str, Any],
    license: str,
    languages: Sequence[str] = (),
    title: str | None = None,
    revision: str | None = None,
    previous: str | None = None,
) -> str:
    """Renders the card of a dataset.

    Args:
        written: The files of the dataset.
        repo_id: `NAME/DATASET`.
        corpus: The corpus.
        options: The options of the corpus.
        license: The name of the license on the Hub.
        languages: BCP-47 codes of the spoken languages.
        title: The title; None for that of the corpus.
        revision: The tag that the example loads.
        previous: The card on the Hub, whose hand-written text is kept.
    """
    facts = corpus_facts(corpus.name, dict(options))
    previous_metadata = read_metadata(previous or "")
    kind = ClassLabel(names=list(written.classes)) if written.classes else Value("string")
    features = Features(row_features(written.target, kind) | {"audio": Audio(sampling_rate=written.sampling_rate)})
    total = sum(split["utterances"] for split in written.splits)
    size = sum(split["bytes"] for split in written.splits)
    split_info = [
        {"name": split["name"], "num_bytes": split["bytes"], "num_examples": split["utterances"]}
        for split in written.splits
    ]
    name = title or (facts.title if facts.named else repo_id.rpartition("/")[2])
    metadata: dict[str, Any] = {
        "license": license,
        "language": list(languages) or facts.languages,
        "pretty_name": name,
        "task_categories": [task.pipeline_tag] if (task := task_of_columns([written.target])) else [],
        "size_categories": [next((word for limit, word in _SIZES if total < limit), "1M<n<10M")],
        "tags": ["audio", "speech"],
        "dataset_info": {
            "features": features._to_yaml_list(),
            "splits": split_info,
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
    metadata["language"] = metadata["language"] or previous_metadata.get("language")
    if not metadata["language"]:
        del metadata["language"]
    metadata |= {key: value for key, value in previous_metadata.items() if key not in metadata}
    context = {
        "repo_id": repo_id,
        "revision": revision,
        "title": name,
        "corpus": facts,
        "corpus_template": find_template("corpora", corpus_template(facts)),
        "splits": written.splits,
        "split_names": [split["name"] for split in written.splits],
        "classes": written.classes,
        "sampling_rate": written.sampling_rate,
        "license": license,
    }
    body = unmarked(render_template("dataset.md.jinja", context, previous or ""))
    front = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n{body}\n"


def verify_corpus(snapshot: RemoteSnapshot, expected: Mapping[str, str] | None = None) -> Verification:
    """Reads a downloaded dataset with `load_dataset` and compares the checksums of its splits.

    Args:
        snapshot: The download.
        expected: The expected checksums; None for those published with the dataset.

    Raises:
        PublishError: If there are no checksums, or the dataset cannot be read.
    """
    if expected is None:
        if FINGERPRINTS not in snapshot.state.files:
            raise PublishError(
                f"{snapshot.repository.name} has no checksums of its rows ({FINGERPRINTS}): publish it with hf-speech "
                "publish-corpus."
            )
        expected = json.loads((snapshot.folder / FINGERPRINTS).read_text(encoding="utf-8"))
    try:
        rows = load_dataset(str(snapshot.folder), cache_dir=str(snapshot.home / "datasets"))
    except (DatasetsError, OSError, ValueError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200].rstrip(".")
        raise PublishError(f"{snapshot.repository.name} cannot be read ({reason}): publish it again.") from error
    found = [f"{len(snapshot.state.files)} files match the Hub's checksums"]
    differences = []
    if set(rows) != set(expected):
        differences.append(f"its splits are {', '.join(rows)}")
    for name, checksum in fingerprints_of(rows).items():
        if checksum != expected.get(name):
            differences.append(f"the rows of its split {name} differ")
        else:
            found.append(f"{counted(len(rows[name]), 'row')} of {name} {plural(len(rows[name]), 'matches', 'match')}")
    return Verification(snapshot.repository, snapshot.state.commit, tuple(found), tuple(differences))


def _usual_rate(rows: DatasetDict) -> int:
    """Returns the sampling rate of the first readable recording, or 16,000 Hz if there is none."""
    for split in rows.values():
        for audio in split["audio"]:
            try:
                return audio_info(audio).sampling_rate
            except AudioError:
                continue
    return 16_000
