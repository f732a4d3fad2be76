"""Datasets of the Hub, from local copies in the layouts of the Hub, without decoding by `datasets`."""

from __future__ import annotations

import io
import json
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet
import pytest
import soundfile
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, Value

from hf_speech.data import inspect_corpus, make_corpus, read_audio
from hf_speech.data.corpora import hub, hub_stream
from hf_speech.errors import CorpusError

pytestmark = pytest.mark.usefixtures("impatient_streams")

RATE = 8000


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets_cache")
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))


def sound(index: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(index).normal(0, 0.1, RATE // 4 + index), RATE, format="WAV")
    return buffer.getvalue()


def table(count: int, first: int = 0) -> Dataset:
    features = Features(
        {
            "recording": {"bytes": Value("binary"), "path": Value("string")},
            "word": ClassLabel(names=["yes", "no"]),
            "accent": Value("string"),
            "said": Value("string"),
            "person": Value("int64"),
        }
    )
    indices = range(first, first + count)
    return Dataset.from_dict(
        {
            "recording": [{"bytes": sound(index), "path": f"{index}.wav"} for index in indices],
            "word": [index % 2 for index in indices],
            "accent": [("b", "a", "c")[index % 3] for index in indices],
            "said": [f"text {index}" for index in indices],
            "person": [index % 6 for index in indices],
        },
        features=features,
    )


def write_parquet(path: Path, rows: Dataset) -> None:
    """Writes a Parquet file as on the Hub, whose metadata declares the column as Audio to decode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(str(path))
    stored = pyarrow.parquet.read_table(path)
    info = json.loads(stored.schema.metadata[b"huggingface"])
    info["info"]["features"]["recording"] = {"sampling_rate": RATE, "_type": "Audio"}
    stored = stored.replace_schema_metadata({b"huggingface": json.dumps(info).encode()})
    pyarrow.parquet.write_table(stored, path)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    write_parquet(root / "data" / "train-00000-of-00001.parquet", table(12))
    write_parquet(root / "data" / "test-00000-of-00001.parquet", table(6, first=12))
    write_parquet(root / "data" / "other-00000-of-00001.parquet", table(3, first=18))
    return root


def corpus_of(folder: Path, **options):
    return make_corpus("hub", data_dir=str(folder), audio_column="recording", label_column="word", **options)


def test_converts_parquet_to_corpus_columns(repository):
    corpus = corpus_of(repository, speaker_column="person", validation_fraction=0.2)
    rows = corpus.load()
    assert list(rows) == ["train", "validation", "test"]
    assert len(rows["train"]) + len(rows["validation"]) == 12
    assert not set(rows["train"]["speaker"]) & set(rows["validation"]["speaker"])
    assert corpus.notes == [f"The dataset {repository} has splits that were left out: other."]
    for split in rows.values():
        assert split.column_names == ["audio", "label", "speaker", "duration"]
        assert split.features["audio"] == {"path": Value("string"), "bytes": Value("binary")}
        assert split.features["label"].names == ["yes", "no"], "the order of the dataset is kept"
    for index, row in enumerate(rows["test"], start=12):
        assert row["audio"] == {"path": f"{index}.wav", "bytes": sound(index)}
        assert (row["label"], row["speaker"]) == (index % 2, str(index % 6))
        assert row["duration"] == pytest.approx((RATE // 4 + index) / RATE)
    assert inspect_corpus(rows, corpus, RATE)[1].num_bad == 0


def test_labels_may_be_strings_and_targets_texts(repository):
    rows = make_corpus("hub", data_dir=str(repository), audio_column="recording", label_column="accent").load()
    assert rows["test"].features["label"].names == ["a", "b", "c"]
    assert [rows["test"].features["label"].int2str(label) for label in rows["test"]["label"]] == list("bacbac")
    texts = corpus_of(repository, text_column="said").load()
    assert texts["test"]["text"][:] == [f"text {index}" for index in range(12, 18)]
    assert "label" not in texts["test"].column_names


def test_splits_may_have_other_names(repository):
    rows = corpus_of(repository, train_split="test", validation_split="other", test_split="train").load()
    assert {split: len(rows[split]) for split in rows} == {"train": 6, "validation": 3, "test": 12}


def test_max_rows_depends_on_the_seed(repository):
    drawn = [corpus_of(repository, max_rows=5, seed=seed, validation_fraction=0.3).load() for seed in (0, 0, 1)]
    names = [[audio["path"] for audio in rows["test"]["audio"]] for rows in drawn]
    assert len(names[0]) == 5
    assert names[0] == names[1] != names[2]


def test_downloads_a_stream(repository):
    rows = corpus_of(repository, streaming=True, max_rows=5, validation_split="other").load()
    assert {split: len(rows[split]) for split in rows} == {"train": 5, "validation": 3, "test": 5}
    for row in rows["train"]:
        assert row["audio"]["bytes"] == sound(int(Path(row["audio"]["path"]).stem))
    with pytest.raises(CorpusError, match="cannot be streamed without max_rows"):
        corpus_of(repository, streaming=True).load()


@pytest.mark.parametrize("streaming", [False, True])
def test_reads_a_folder_of_sounds_without_torchcodec(digit_folder, streaming):
    """`datasets` would need torchcodec to "encode" existing files."""
    original = Audio.encode_example
    corpus = make_corpus("hub", data_dir=str(digit_folder), streaming=streaming, max_rows=60)
    rows = corpus.load()
    assert Audio.encode_example is original
    assert sum(len(split) for split in rows.values()) == 60
    assert set(rows["train"].features["label"].names) == {"high", "low"}
    row = rows["train"][0]
    name = rows["train"].features["label"].int2str(row["label"])
    assert Path(row["audio"]["path"]).parent.name == name
    assert (row["audio"]["bytes"] is not None) is streaming
    assert len(read_audio(row["audio"], RATE)) == pytest.approx(row["duration"] * RATE)


@pytest.mark.parametrize("splits", [True, False])
def test_reads_a_dataset_saved_to_disk(tmp_path, splits):
    saved = DatasetDict({"train": table(12), "test": table(6, first=12)}) if splits else table(18)
    saved.save_to_disk(str(tmp_path / "saved"))
    rows = corpus_of(tmp_path / "saved", validation_fraction=0.2, test_fraction=0.3).load()
    assert sum(len(split) for split in rows.values()) == 18
    assert read_audio(rows["test"][0]["audio"], RATE).size > 0


@pytest.mark.parametrize("unknown", [None, -1])
def test_inspection_reports_an_unknown_class(tmp_path, unknown):
    rows = table(12).to_dict()
    rows["word"][3] = unknown
    Dataset.from_dict(rows, features=table(1).features).save_to_disk(str(tmp_path / "saved"))
    corpus = corpus_of(tmp_path / "saved", validation_fraction=0.0, test_fraction=0.0)
    with pytest.raises(CorpusError, match=r"1 without label.*3\.wav has no label"):
        inspect_corpus(corpus.load(), corpus, RATE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"audio_column": "record"}, r"no column 'record' \(audio_column\): did you mean 'recording'\?"),
        ({"label_column": "words"}, r"no column 'words' \(label_column\): did you mean 'word'\?"),
        ({"text_column": "sad"}, r"no column 'sad' \(text_column\): did you mean 'said'\?"),
        ({"speaker_column": "zzz"}, r"no column 'zzz' \(speaker_column\): use one of accent, person, "),
        ({"audio_column": "said"}, "no recordings in its column 'said'"),
        ({"train_split": "trian"}, "no split 'trian': did you mean 'train'"),
        ({"validation_split": "zzz"}, "no split 'zzz': use one of other, test, train"),
    ],
)
def test_one_sentence_error_for_wrong_options(repository, options, message):
    arguments = {"audio_column": "recording", "label_column": "word", **options}
    with pytest.raises(CorpusError, match=message):
        make_corpus("hub", data_dir=str(repository), **arguments).load()


def test_error_names_data_dir_if_there_is_no_network():
    with pytest.raises(CorpusError, match="give repo, or a copy as --data_dir"):
        make_corpus("hub").load()
    with pytest.raises(CorpusError) as caught:
        make_corpus("hub", repo="nobody/nothing").load()
    sentence = str(caught.value)
    assert sentence.startswith("The dataset nobody/nothing cannot be loaded (")
    assert sentence.endswith("give a copy as --data_dir.")
    assert "\n" not in sentence


def test_downloads_streamed_remote_files(tmp_path, monkeypatch):
    """A stream of sound files contains URLs that only `datasets` can open."""
    opened = []

    def xopen(path: str, mode: str) -> io.BytesIO:
        opened.append(path)
        return io.BytesIO(sound(1))

    monkeypatch.setattr(hub_stream, "xopen", xopen)
    features = Features({"audio": hub.AUDIO_FEATURE, "label": ClassLabel(names=["a", "b"])})
    rows = {"audio": [{"path": f"hf://x/{i}.wav", "bytes": None} for i in range(4)], "label": [0, 1, 0, 1]}
    stream = Dataset.from_dict(rows, features=features).to_iterable_dataset()
    monkeypatch.setattr(hub, "load_dataset", lambda *args, **kwargs: {"train": stream, "dev": stream, "test": stream})
    loaded = make_corpus("hub", repo="a/b", streaming=True, max_rows=2).load()
    assert len(opened) == 6
    assert loaded["validation"][0]["audio"]["bytes"] == sound(1)


def test_training_reads_the_stream_of_a_loaded_sample(repository):
    options = {"streaming": True, "max_rows": 5, "validation_split": "other", "stream_train": True}
    corpus = corpus_of(repository, **options)
    rows = corpus.load()
    assert {split: len(rows[split]) for split in rows} == {"train": 5, "validation": 3, "test": 5}
    streamed = list(corpus.train_stream(rows["train"].features["label"].names).rows(0, (0, 1)))
    assert sorted(row["audio"]["path"] for row in streamed) == sorted(f"{index}.wav" for index in range(12))
    for row in streamed:
        index = int(Path(row["audio"]["path"]).stem)
        assert row == {"audio": {"path": f"{index}.wav", "bytes": sound(index)}, "label": index % 2}
    texts = corpus_of(repository, text_column="said", **options).train_stream()
    assert {row["text"] for row in texts.rows(1, (0, 2))} | {row["text"] for row in texts.rows(1, (1, 2))} == {
        f"text {index}" for index in range(12)
    }
    assert corpus_of(repository, streaming=True, max_rows=5).train_stream() is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"streaming": False, "validation_split": "other"},
            "stream_train is set: set streaming as well",
        ),
        ({"streaming": True}, "has no validation split, .* set validation_split to one of its splits"),
    ],
)
def test_a_training_stream_needs_separate_splits(repository, options, message):
    with pytest.raises(CorpusError, match=message):
        corpus_of(repository, max_rows=5, stream_train=True, **options).load()


def test_a_training_stream_without_other_splits(repository):
    (repository / "data" / "test-00000-of-00001.parquet").unlink()
    options = {"streaming": True, "max_rows": 5, "stream_train": True}
    corpus = corpus_of(repository, validation_fraction=0.0, test_fraction=0.0, **options)
    rows = corpus.load()
    assert {split: len(rows[split]) for split in rows} == {"train": 5, "validation": 0, "test": 0}
    with pytest.raises(CorpusError, match=r"has no validation split, .*, or validation_fraction to 0"):
        corpus_of(repository, test_fraction=0.0, **options).load()


def test_streams_sound_files_without_torchcodec(digit_folder):
    corpus = make_corpus("hub", data_dir=str(digit_folder), streaming=True, max_rows=4, stream_train=True)
    original = Audio.encode_example
    row = next(corpus.train_stream(["high", "low"]).rows(0, (0, 1)))
    assert Audio.encode_example is original
    assert row["label"] == ["high", "low"].index(Path(row["audio"]["path"]).parent.name)
    assert len(read_audio(row["audio"], RATE)) > 0


@pytest.mark.parametrize("streaming", [False, True])
def test_keeps_transcripts_of_metadata_csv_unchanged(tmp_path, streaming):
    values = ["007", "1", "1.0", "1e3", "true", "N/A"]
    for index in range(12):
        (tmp_path / "sounds").mkdir(exist_ok=True)
        (tmp_path / "sounds" / f"{index}.wav").write_bytes(sound(index))
    lines = [f"{index}.wav,{values[index % 6]},{index % 3}\n" for index in range(12)]
    content = "file_name,transcription,who\r\n" + "".join(lines)
    (tmp_path / "sounds" / "metadata.csv").write_text(content, encoding="utf-16")
    options = {"validation_fraction": 0.0, "test_fraction": 0.0, "speaker_column": "who"}
    options |= {"streaming": True, "max_rows": 12} if streaming else {}
    rows = make_corpus("hub", data_dir=str(tmp_path / "sounds"), text_column="transcription", **options).load()["train"]
    found = {int(Path(row["audio"]["path"]).stem): (row["text"], row["speaker"]) for row in rows}
    assert found == {index: (values[index % 6], str(index % 3)) for index in range(12)}


def decoded(index: int) -> list[float]:
    return soundfile.read(io.BytesIO(sound(index)), dtype="float32")[0].tolist()


BYTES, PATH = {"bytes": Value("binary")}, {"path": Value("string")}
STRUCTS = {
    "further fields": (
        {**BYTES, **PATH, "sampling_rate": Value("int64")},
        lambda index: {"bytes": sound(index), "path": f"{index}.wav", "sampling_rate": RATE},
    ),
    "bytes alone": (BYTES, lambda index: {"bytes": sound(index)}),
    "decoded": (
        {"array": datasets.Sequence(Value("float32")), **PATH, "sampling_rate": Value("int64")},
        lambda index: {"array": decoded(index), "path": f"{index}.wav", "sampling_rate": RATE},
    ),
    "no struct": (Value("binary"), sound),
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", STRUCTS)
def test_reads_recordings_in_other_structs(tmp_path, kind, streaming):
    feature, make = STRUCTS[kind]
    columns = {"audio": [make(index) for index in range(8)], "label": [index % 2 for index in range(8)]}
    features = Features({"audio": feature, "label": ClassLabel(names=["a", "b"])})
    (tmp_path / "data").mkdir()
    Dataset.from_dict(columns, features=features).to_parquet(str(tmp_path / "data" / "train.parquet"))
    options = {"validation_fraction": 0.0, "test_fraction": 0.0} | (
        {"streaming": True, "max_rows": 8} if streaming else {}
    )
    rows = make_corpus("hub", data_dir=str(tmp_path / "data"), **options).load()["train"]
    lengths = sorted(len(read_audio(row["audio"], RATE)) for row in rows)
    assert lengths == [RATE // 4 + index for index in range(8)]
    assert rows.features["audio"] == hub.AUDIO_FEATURE


@pytest.mark.parametrize("value", [1.5, ["a"], True])
def test_rejects_a_column_without_text(tmp_path, value):
    rows = {"audio": [{"bytes": sound(0), "path": "0.wav"}] * 4, "text": [value] * 4}
    Dataset.from_dict(rows).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(CorpusError, match="which is not text: write text into this column"):
        make_corpus("hub", data_dir=str(tmp_path / "saved"), text_column="text", test_fraction=0.5).load()
