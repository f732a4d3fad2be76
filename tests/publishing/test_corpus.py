"""A published corpus can be loaded unchanged: every recording, target and speaker."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset, DatasetDict, load_dataset
from hub_server import WRITE_TOKEN, HubServer
from hub_server.client import Client, ClientError

from hf_speech.data.corpora import make_corpus
from hf_speech.publishing.checks.structure import read_metadata
from hf_speech.publishing.corpus import FINGERPRINTS, render_dataset_card, verify_corpus
from hf_speech.publishing.rows import add_row, fingerprints_of, write_parquet

PUBLISH = """
from hf_speech.data.corpora import make_corpus
from hf_speech.publishing.corpus import publish_corpus
lines = []
done = publish_corpus(make_corpus(name, **options), repo, options=options, notify=lines.append, **arguments)
result = {
    "lines": lines, "card": done.card, "tree": done.tree,
    "changed": done.pushed and done.pushed.changed, "commit": done.pushed and done.pushed.commit,
    "summary": done.verification and done.verification.summary(),
}
"""


def publish(client: Client, name: str, options: dict[str, Any], repo: str, **arguments: Any) -> dict[str, Any]:
    arguments = {"license": "cc-by-4.0", **arguments}
    return client.run(PUBLISH, name=name, options=options, repo=repo, arguments=arguments)


def rows_of(folder: Path) -> DatasetDict:
    return make_corpus("folder", data_dir=str(folder), speaker_pattern="(speaker[0-9])_").load()


def test_rows_round_trip_through_parquet(digit_folder: Path, tmp_path: Path) -> None:
    rows = rows_of(digit_folder)
    written = write_parquet(rows, tmp_path / "written", shard_bytes=30_000)
    assert written.target == "label"
    assert written.classes == ("high", "low")
    assert written.sampling_rate == 8000
    shards = sorted(path.name for path in (tmp_path / "written" / "data").glob("train-*"))
    assert shards[-1] == f"train-{len(shards) - 1:05d}-of-{len(shards):05d}.parquet"
    assert len(shards) > 1
    back = load_dataset(str(tmp_path / "written"), cache_dir=str(tmp_path / "cache"))
    assert list(back) == ["train", "validation", "test"]
    for name, split in back.items():
        assert split["label"][:] == rows[name]["label"][:]
        assert split["speaker"][:] == rows[name]["speaker"][:]
        sent = [Path(audio["path"]).read_bytes() for audio in rows[name]["audio"]]
        assert [audio["bytes"] for audio in split.cast_column("audio", Audio(decode=False))["audio"]] == sent
        assert not any("/" in audio["path"] for audio in split.cast_column("audio", Audio(decode=False))["audio"])


def test_parquet_files_are_deterministic(digit_folder: Path, tmp_path: Path) -> None:
    contents = []
    for name in ("first", "second"):
        write_parquet(rows_of(digit_folder), tmp_path / name)
        contents.append({path.name: path.read_bytes() for path in (tmp_path / name / "data").iterdir()})
    assert contents[0] == contents[1]


def test_converts_formats_that_browsers_cannot_play_to_flac(tmp_path: Path, make_tone) -> None:
    samples = make_tone(0.3, 440.0, 8000, 0.5)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 8000, format="NIST", subtype="PCM_16")
    rows = Dataset.from_dict(
        {
            "audio": [{"path": "deep/tone.sph", "bytes": buffer.getvalue()}],
            "text": ["a tone"],
            "speaker": [None],
            "duration": [0.3],
        }
    )
    written = write_parquet(DatasetDict({"train": rows}), tmp_path / "written")
    assert written.target == "text"
    back = load_dataset(str(tmp_path / "written"), cache_dir=str(tmp_path / "cache"))["train"]
    audio = back.cast_column("audio", Audio(decode=False))[0]["audio"]
    assert audio["path"] == "tone.flac"
    decoded, rate = soundfile.read(io.BytesIO(audio["bytes"]), dtype="float32")
    assert rate == 8000
    np.testing.assert_allclose(decoded, samples, atol=1 / 32000)


def test_a_fingerprint_depends_on_each_part_of_a_row() -> None:
    row = {"audio": {"path": "a.wav", "bytes": b"sound"}, "text": "one", "speaker": None}

    def of(**changes: Any) -> str:
        digest = hashlib.sha256()
        add_row(digest, row | changes, "text")
        return digest.hexdigest()

    changed = [{"text": "two"}, {"speaker": "ann"}, {"audio": {"path": "b.wav", "bytes": b"sound"}}]
    changed.append({"audio": {"path": "a.wav", "bytes": b"other"}})
    assert len({of(), *(of(**change) for change in changed)}) == 5


def test_a_card_describes_the_corpus_and_keeps_hand_written_text(digit_folder: Path, tmp_path: Path) -> None:
    corpus = make_corpus("folder", data_dir=str(digit_folder))
    written = write_parquet(corpus.load(), tmp_path / "written")
    about = {"repo_id": "ann/tones", "corpus": corpus, "options": {}, "license": "cc-by-4.0", "languages": ["en"]}
    card = render_dataset_card(written, **about)
    metadata = read_metadata(card)
    assert metadata["license"] == "cc-by-4.0"
    assert metadata["language"] == ["en"]
    assert metadata["task_categories"] == ["audio-classification"]
    assert metadata["size_categories"] == ["n<1K"]
    assert [split["num_examples"] for split in metadata["dataset_info"]["splits"]] == [
        s["utterances"] for s in written.splits
    ]
    assert 'load_dataset("ann/tones")' in card
    assert "2 classes: high, low" in card
    edited = card.replace("<!-- hand-written: about -->\n", "<!-- hand-written: about -->\nRecorded in my kitchen.\n")
    assert "Recorded in my kitchen." in render_dataset_card(written, previous=edited, **about)


def test_the_card_of_acted_emotions_says_how_they_were_recorded(digit_folder: Path, tmp_path: Path) -> None:
    corpus = make_corpus("folder", data_dir=str(digit_folder))
    written = write_parquet(corpus.load(), tmp_path / "written")
    corpus.name = "ravdess"
    card = render_dataset_card(written, repo_id="ann/acted", corpus=corpus, options={}, license="cc-by-4.0")
    assert "Actors speak the same few sentences with different emotions." in card


def test_leaves_out_an_empty_split(digit_folder: Path, tmp_path: Path) -> None:
    corpus = make_corpus("folder", data_dir=str(digit_folder), validation_fraction=0.0)
    written = write_parquet(corpus.load(), tmp_path / "written")
    assert set(written.fingerprints) == {"train", "test"}
    card = render_dataset_card(written, repo_id="ann/tones", corpus=corpus, options={}, license="cc-by-4.0")
    assert "validation" not in card
    (tmp_path / "written" / "README.md").write_text(card)
    back = load_dataset(str(tmp_path / "written"), cache_dir=str(tmp_path / "cache"))
    assert fingerprints_of(back) == written.fingerprints


def test_publishes_verifies_and_skips_an_unchanged_corpus(
    hub: HubServer, client: Client, digit_folder: Path, tmp_path: Path
) -> None:
    options = {"data_dir": str(digit_folder), "speaker_pattern": "(speaker[0-9])_"}
    first = publish(client, "folder", options, "ann/tones", tag="v1")
    assert first["summary"].startswith(f"OK ann/tones@{first['commit']}: ")
    assert "20 rows of test match" in first["summary"]
    repository = hub.storage.repository("dataset", "ann/tones")
    assert repository.private
    assert repository.refs["refs/tags/v1"] == first["commit"]
    assert len(hub.requests("POST", "/api/datasets/ann/tones/commit/")) == 1
    assert publish(client, "folder", options, "ann/tones", tag="v1", verify=False)["changed"] is False
    # No path of this machine, and no token, in anything that was sent.
    sent = hub.files("dataset", "ann/tones").values()
    assert not any(str(digit_folder).encode() in content for content in sent)
    # It can be loaded with only datasets, and this package can train on it.
    source = """
from datasets import Audio, load_dataset
rows = load_dataset(repo, revision=commit, cache_dir=cache)
sounds = rows["test"].cast_column("audio", Audio(decode=False))
result = [{name: len(split) for name, split in rows.items()}, rows["test"].features["label"].names,
          sounds[0]["audio"]["path"], str(rows["test"].features["audio"])]
"""
    counts, names, path, feature = client.run(
        source, repo="ann/tones", commit=first["commit"], cache=str(tmp_path / "c")
    )
    assert sum(counts.values()) == 60
    assert names == ["high", "low"]
    assert path.endswith(".wav")
    assert "sampling_rate=8000" in feature
    source = """
from hf_speech.data.corpora import make_corpus
rows = make_corpus("hub", repo=repo, revision=commit).load()
result = {name: [len(split), sorted(set(split["speaker"]))] for name, split in rows.items()}
"""
    again = client.run(source, repo="ann/tones", commit=first["commit"])
    assert {name: count for name, (count, _) in again.items()} == counts
    assert hub.unknown() == []
    # It can be verified later; other rows are detected.
    checked = client.cli("verify", "ann/tones@v1", "--kind", "dataset")
    assert checked.status == 0, checked.err
    assert "20 rows of test match" in checked.out
    changed = hub.files("dataset", "ann/tones")[FINGERPRINTS].decode().replace('"test": "', '"test": "0')
    client.run(
        "api.upload_file(path_or_fileobj=text.encode(), path_in_repo=path, repo_id='ann/tones', repo_type='dataset')",
        text=changed,
        path=FINGERPRINTS,
    )
    checked = client.cli("verify", "ann/tones", "--kind", "dataset")
    assert checked.status == 1
    assert "the rows of its split test differ" in checked.out


def test_pushing_with_datasets_keeps_the_card(
    hub: HubServer, client: Client, digit_folder: Path, tmp_path: Path
) -> None:
    """`DatasetDict.push_to_hub` changes only the metadata about files in the card."""
    options = {"data_dir": str(digit_folder)}
    card = publish(client, "folder", options, "ann/pushed", verify=False)["card"]
    source = """
from datasets import Audio, Dataset, DatasetDict, load_dataset
rows = load_dataset(repo, cache_dir=cache)
rows = DatasetDict({name: split.cast_column("audio", Audio(decode=False)) for name, split in rows.items()})
rows.push_to_hub(repo, private=True)
back = load_dataset(repo, cache_dir=cache + "2")
result = {name: split["label"][:] for name, split in back.items()}, {n: s["label"][:] for n, s in rows.items()}
"""
    back, sent = client.run(source, repo="ann/pushed", cache=str(tmp_path / "cache"))
    assert back == sent
    after = hub.files("dataset", "ann/pushed")["README.md"].decode()
    assert after.partition("\n---\n")[2].strip() == card.partition("\n---\n")[2].strip()
    assert read_metadata(after)["license"] == "cc-by-4.0"
    assert read_metadata(after)["task_categories"] == ["audio-classification"]
    assert hub.storage.repository("dataset", "ann/pushed").private
    assert hub.unknown() == []


def test_verification_detects_other_rows(digit_folder: Path, tmp_path: Path) -> None:
    from hf_speech.common.hub import Repository, State
    from hf_speech.publishing.hub.verify import RemoteSnapshot

    corpus = make_corpus("folder", data_dir=str(digit_folder))
    rows = corpus.load()
    written = write_parquet(rows, tmp_path / "written")
    other = DatasetDict({**rows, "test": rows["test"].select(range(1, len(rows["test"])))})
    write_parquet(other, tmp_path / "other")
    copy = RemoteSnapshot(
        Repository("ann/x", "dataset"), State("0" * 40, True, {}, {}), tmp_path / "other", tmp_path / "home"
    )
    assert verify_corpus(copy, written.fingerprints).differences == ("the rows of its split test differ",)


def test_rejects_what_must_not_be_published(client: Client, hub: HubServer, digit_folder: Path) -> None:
    options = {"data_dir": str(digit_folder)}
    (digit_folder / "low" / "bad.wav").write_text("these are words")
    for arguments, message in (
        ({"license": "my own"}, "There is no license 'my own'"),
        ({}, "bad.wav"),
    ):
        with pytest.raises(ClientError) as error:
            publish(client, "folder", options, "ann/bad", **arguments)
        assert message in error.value.message
        assert error.value.kind in ("PublishError", "CorpusError")
    assert not hub.exists("dataset", "ann/bad")
    done = publish(client, "folder", options | {"bad_rows": "skip"}, "ann/bad", dry_run=True)
    assert "data/" in done["tree"]
    assert not hub.exists("dataset", "ann/bad")
    assert WRITE_TOKEN not in client.printed.read_text()
