"""LibriSpeech: subsets in splits, the folder layout of torchaudio, and incomplete chapters."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_speech.data import inspect_corpus, make_corpus
from hf_speech.data.corpora import librispeech
from hf_speech.errors import CorpusError

pytestmark = pytest.mark.usefixtures("cache")

SUBSETS = {
    "train-clean-100": ("19", "103"),
    "train-other-500": ("20",),
    "dev-clean": ("84",),
    "dev-other": ("116",),
    "test-clean": ("61",),
    "test-other": ("367",),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Subsets with one or two speakers, who have two chapters of two utterances each."""
    folder = tmp_path / "data" / "LibriSpeech"
    rng = np.random.default_rng(0)
    for subset, speakers in SUBSETS.items():
        for speaker in speakers:
            for chapter in ("198", "1240"):
                place = folder / subset / speaker / chapter
                place.mkdir(parents=True)
                names = [f"{speaker}-{chapter}-{index:04d}" for index in range(2)]
                (place / f"{speaker}-{chapter}.trans.txt").write_text("".join(f"{n} SAID IN {n}\n" for n in names))
                for name in names:
                    soundfile.write(place / f"{name}.flac", rng.normal(0, 0.1, 3200), 16_000)
    (folder / "SPEAKERS.TXT").write_text("; speakers")
    return folder


def load(folder: Path, **options):
    return make_corpus("librispeech", data_dir=str(folder), **options).load()


def test_splits_consist_of_subsets(root):
    splits = {
        "train_subsets": ["train-clean-100", "train-other-500"],
        "validation_subsets": ["dev-other"],
        "test_subsets": ["test-clean", "test-other"],
    }
    corpus = load(root, **splits)
    speakers = {split: list(dict.fromkeys(rows["speaker"])) for split, rows in corpus.items()}
    assert speakers == {"train": ["19", "103", "20"], "validation": ["116"], "test": ["61", "367"]}
    for rows in corpus.values():
        assert len(rows) == 4 * len(set(rows["speaker"]))
        for row in rows:
            path = Path(row["audio"]["path"])
            assert path.name.split("-")[0] == row["speaker"]
            assert row["text"] == f"SAID IN {path.stem}"
            assert row["duration"] == pytest.approx(0.2)


def test_uses_the_clean_subsets_by_default(root):
    speakers = {split: set(rows["speaker"]) for split, rows in load(root).items()}
    assert speakers == {"train": {"19", "103"}, "validation": {"84"}, "test": {"61"}}


def test_accepts_the_parent_folder_as_torchaudio_does(root):
    datasets = pytest.importorskip("torchaudio.datasets")
    theirs = datasets.LIBRISPEECH(str(root.parent), url="dev-clean", download=False)
    ours = load(root.parent)["validation"]
    expected = []
    for index in range(len(theirs)):
        path, _, text, speaker, *_ = theirs.get_metadata(index)
        expected.append((str(root / path), text, str(speaker)))
    rows = [(row["audio"]["path"], row["text"], row["speaker"]) for row in ours]
    assert len(rows) == 4
    assert sorted(rows) == sorted((str(root.parent / "LibriSpeech" / path), *rest) for path, *rest in expected)


def test_inspection_reports_incomplete_chapters(root):
    chapter = root / "test-clean" / "61" / "198"
    (chapter / "61-198-0000.flac").unlink()
    (chapter / "61-198.trans.txt").write_text("61-198-0000 HELLO\n")
    (root / "test-clean" / "61" / "1240" / "61-1240.trans.txt").unlink()
    corpus = make_corpus("librispeech", data_dir=str(root))
    with pytest.raises(CorpusError, match=r"4 of the 16 .*1 missing, 3 without text.*61-198-0000\.flac"):
        inspect_corpus(corpus.load(), corpus, 16_000)


def test_reports_a_repeated_line(root):
    with (root / "dev-clean" / "84" / "198" / "84-198.trans.txt").open("a") as file:
        file.write("84-198-0001 AGAIN\n")
    with pytest.raises(CorpusError, match=r"84-198\.trans\.txt, line 3, repeats '84-198-0001'"):
        load(root)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_subsets": ["train-clean-360"]}, r"no subset 'train-clean-360' of LibriSpeech: did you mean"),
        ({"test_subsets": ["dev-clean"]}, "'dev-clean' of LibriSpeech is listed twice"),
        ({"test_subsets": ["empty"]}, r"empty has no SPEAKER/CHAPTER folders"),
    ],
)
def test_one_sentence_error_for_wrong_subsets(root, options, message):
    (root / "empty").mkdir()
    with pytest.raises(CorpusError, match=message):
        load(root, **options)


def test_the_longest_utterances_are_not_bad_rows(root):
    path = root / "test-clean" / "61" / "198" / "61-198-0000.flac"
    soundfile.write(path, np.tile([0.1, -0.1], 35 * 8000), 16_000)
    corpus = make_corpus("librispeech", data_dir=str(root))
    _, report = inspect_corpus(corpus.load(), corpus, 16_000)
    assert report.num_bad == 0


def test_downloads_the_subsets_of_the_recipe_without_data_dir(root, tmp_path, monkeypatch):
    digests = {}
    for subset in ("train-clean-100", "dev-clean", "test-clean"):
        archive = tmp_path / f"{subset}.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(root / "SPEAKERS.TXT", "LibriSpeech/SPEAKERS.TXT")
            tar.add(root / subset, f"LibriSpeech/{subset}")
        digests[subset] = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(librispeech, "URL", tmp_path.as_uri() + "/{}.tar.gz")
    with pytest.raises(CorpusError, match=r"'train-clean-100' of LibriSpeech is not on .* is not the file expected"):
        make_corpus("librispeech").load()
    monkeypatch.setattr(librispeech, "SUBSETS", digests)
    corpus = make_corpus("librispeech").load()
    assert {split: len(rows) for split, rows in corpus.items()} == {"train": 8, "validation": 4, "test": 4}
    assert corpus["test"]["duration"][:] == pytest.approx([0.2] * 4)
    with pytest.raises(CorpusError, match=r"no subset 'test-claen' to download: did you mean 'test-clean'\?"):
        make_corpus("librispeech", test_subsets=["test-claen"]).load()
    archived = load(tmp_path / "dev-clean.tar.gz", train_subsets=[], validation_subsets=[], test_subsets=["dev-clean"])
    assert {split: len(rows) for split, rows in archived.items()} == {"train": 0, "validation": 0, "test": 4}


def test_any_subset_may_be_in_any_split(root):
    for name, new in (("train-clean-100", "train-clean-5"), ("dev-clean", "dev-clean-2")):
        (root / name).rename(root / new)
    (root / "train-clean-5" / "notes.md").write_text("x")
    (root / "train-clean-5" / ".DS_Store").write_text("x")
    corpus = make_corpus(
        "librispeech", data_dir=str(root), train_subsets=["train-clean-5"], validation_subsets=["dev-clean-2"]
    )
    rows = corpus.load()
    assert all(len(split) for split in rows.values())
    assert corpus.notes == [f"1 unexpected file was left out in {root / 'train-clean-5'}, such as notes.md."]


@pytest.mark.parametrize(("name", "resource"), [("train-clean-5", 31), ("dev-clean-2", 31), ("dev-clean", 12)])
def test_downloads_mini_librispeech_from_its_own_source(monkeypatch, name, resource):
    addresses = []
    monkeypatch.setattr(librispeech, "fetch_archive", lambda title, folder, urls, **more: addresses.extend(urls))
    librispeech.fetch_subset(name)
    assert addresses == [f"https://www.openslr.org/resources/{resource}/{name}.tar.gz"]


def test_holds_out_validation_speakers_of_the_training_subsets(root):
    splits = load(root, validation_subsets=[], validation_speakers=["103"])
    assert {row["speaker"] for row in splits["train"]} == {"19"}
    assert {row["speaker"] for row in splits["validation"]} == {"103"}
    splits = load(root, validation_speakers=["19"])
    assert {row["speaker"] for row in splits["validation"]} == {"84", "19"}


def test_reports_an_unknown_validation_speaker(root):
    with pytest.raises(CorpusError, match=r"no speaker '1O3'.*103"):
        load(root, validation_speakers=["1O3"])
