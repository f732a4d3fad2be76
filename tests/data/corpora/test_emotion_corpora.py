"""Corpora of emotions, each in its layout, with a missing file, an unknown code and a duplicate."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_speech.data import make_corpus
from hf_speech.data.corpora import RAVDESS, TESS
from hf_speech.errors import CorpusError

# For each corpus: how a file is called, its speakers, its codes with their emotions, and a name with an unknown code.
LAYOUTS = {
    "ravdess": (
        "Actor_{speaker}/03-01-{code}-01-0{take}-01-{speaker}.wav",
        [f"{actor:02d}" for actor in range(1, 25)],
        {"01": "neutral", "05": "angry", "08": "surprised"},
        "Actor_03/03-01-09-01-01-01-03.wav",
    ),
    "tess": (
        "{speaker}F_{code}/{speaker}F_{word}_{code}.wav",
        ["OA", "YA"],
        {"neutral": "neutral", "fear": "fearful", "ps": "surprised"},
        "OAF_bored/OAF_back_bored.wav",
    ),
    "emodb": (
        "wav/{speaker}a0{take}{code}a.wav",
        ["03", "08", "09", "10", "16"],
        {"N": "neutral", "W": "angry", "L": "bored"},
        "wav/03a01Xa.wav",
    ),
    "crema_d": (
        "AudioWAV/{speaker}_{word}_{code}_XX.wav",
        ["1001", "1002", "1003", "1091"],
        {"NEU": "neutral", "ANG": "angry", "DIS": "disgust"},
        "AudioWAV/1001_IEO_BOR_XX.wav",
    ),
    "savee": (
        "AudioData/{speaker}/{code}0{take}.wav",
        ["DC", "JE", "JK", "KL"],
        {"n": "neutral", "sa": "sad", "su": "surprised"},
        "AudioData/DC/b01.wav",
    ),
}
WORDS = {"tess": ("back", "bar", "bite"), "crema_d": ("IEO", "DFA", "TIE")}


def write(path: Path, seed: int) -> None:
    """Writes a unique sound of a tenth of a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).normal(0, 0.1, 800), 8000)


def paths_of(name: str) -> dict[str, tuple[str, str]]:
    """Writes a small corpus with three takes each, and returns speaker and emotion of each file."""
    layout, speakers, codes, _ = LAYOUTS[name]
    return {
        layout.format(speaker=speaker, code=code, take=take, word=WORDS.get(name, "   ")[take - 1]): (
            speaker,
            codes[code],
        )
        for speaker, code, take in itertools.product(speakers, codes, (1, 2, 3))
    }


@pytest.fixture(params=LAYOUTS)
def corpus_tree(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """The name of a corpus, and a small corpus in its layout."""
    root = tmp_path / request.param
    for seed, path in enumerate(paths_of(request.param)):
        write(root / path, seed)
    (root / "README.txt").write_text("emotions")
    return request.param, root


def seen(corpus) -> dict[str, tuple[str, str]]:
    """Speaker and emotion of every row, by path."""
    rows = [(row, split.features["label"].int2str(row["label"])) for split in corpus.values() for row in split]
    assert len({row["audio"]["path"] for row, _ in rows}) == len(rows)
    return {row["audio"]["path"]: (row["speaker"], label) for row, label in rows}


def test_parses_speakers_and_emotions_from_file_names(corpus_tree):
    name, root = corpus_tree
    corpus = make_corpus(name, data_dir=str(root))
    rows = corpus.load()
    assert seen(rows) == {str(root / path): said for path, said in paths_of(name).items()}
    assert rows["train"].features["label"].names == list(LAYOUTS[name][2].values())
    speakers = {split: set(rows[split]["speaker"]) for split in rows}
    assert not speakers["train"] & speakers["test"]
    assert all(len(rows[split]) for split in rows)
    if name != "tess":  # With two speakers, none is left for validation.
        assert not (speakers["train"] | speakers["test"]) & speakers["validation"]


def test_counts_missing_files(corpus_tree):
    name, root = corpus_tree
    whole = make_corpus(name).num_recordings
    (root / next(iter(paths_of(name)))).unlink()
    corpus = make_corpus(name, data_dir=str(root))
    corpus.load()
    missing = whole - len(paths_of(name)) + 1
    verb = "is" if missing == 1 else "are"
    assert corpus.notes == [f"{missing:,} of the {whole:,} recordings of {corpus.title} {verb} missing."]


def test_rejects_or_skips_an_unknown_code(corpus_tree):
    name, root = corpus_tree
    unknown = root / LAYOUTS[name][3]
    write(unknown, 1000)
    with pytest.raises(CorpusError, match=f"1 utterance .* {unknown} has the unknown emotion .*bad_rows: skip"):
        make_corpus(name, data_dir=str(root)).load()
    corpus = make_corpus(name, data_dir=str(root), bad_rows="skip")
    assert str(unknown) not in seen(corpus.load())
    assert "unknown emotion" in corpus.notes[0]


def test_uses_a_duplicate_once(corpus_tree):
    name, root = corpus_tree
    path = next(iter(paths_of(name)))
    shutil.copytree(root, root / "copy" / name)  # The name in some copies on the web.
    corpus = make_corpus(name, data_dir=str(root))
    assert len(seen(corpus.load())) == len(paths_of(name))
    assert corpus.notes[0].startswith(f"{len(paths_of(name))} duplicates were left out, such as ")
    write(root / "copy" / name / path, 1000)
    with pytest.raises(CorpusError, match=f"{path} has the same name as .*, but different content"):
        make_corpus(name, data_dir=str(root)).load()


def test_ignores_other_sounds(corpus_tree):
    name, root = corpus_tree
    write(root / "theme song.wav", 1000)
    corpus = make_corpus(name, data_dir=str(root))
    assert len(seen(corpus.load())) == len(paths_of(name))
    assert corpus.notes[0].startswith("1 audio file not named like those of ")


def test_an_archive_gives_the_same_corpus(corpus_tree, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    name, root = corpus_tree
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", root)
    whole, packed = (make_corpus(name, data_dir=str(source)).load() for source in (root, archive))
    for split in whole:
        names = [[Path(audio["path"]).name for audio in corpus[split]["audio"]] for corpus in (whole, packed)]
        assert names[0] == names[1]


@pytest.fixture(scope="module")
def ravdess(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 24 actors; tests only read it."""
    root = tmp_path_factory.mktemp("emotions") / "ravdess"
    for seed, path in enumerate(paths_of("ravdess")):
        write(root / path, seed)
    return root


def test_default_split_of_ravdess(ravdess):
    rows = make_corpus("ravdess", data_dir=str(ravdess)).load()
    assert set(rows["test"]["speaker"]) == {"23", "24"}
    assert set(rows["validation"]["speaker"]) == {"21", "22"}
    assert len(set(rows["train"]["speaker"])) == 20


def test_leaves_out_songs_and_films(ravdess, tmp_path):
    for actor in ("Actor_03", "Actor_22", "Actor_23"):
        shutil.copytree(ravdess / actor, tmp_path / actor)
    write(tmp_path / "Actor_03" / "03-02-05-01-01-01-03.wav", 1000)
    (tmp_path / "Actor_03" / "01-01-05-01-01-01-03.mp4").write_bytes(b"film")
    corpus = make_corpus("ravdess", data_dir=str(tmp_path))
    assert len(seen(corpus.load())) == 27
    assert corpus.notes[0].startswith("2 audio files not named like")


@pytest.mark.parametrize("num_folds", [5, 4])
def test_folds_test_every_speaker_once(ravdess, num_folds):
    tested: Counter[str] = Counter()
    for fold in range(num_folds):
        rows = make_corpus("ravdess", data_dir=str(ravdess), fold=fold, num_folds=num_folds).load()
        speakers = {split: set(rows[split]["speaker"]) for split in rows}
        assert not any(one & other for one, other in itertools.combinations(speakers.values(), 2))
        assert set().union(*speakers.values()) == set(LAYOUTS["ravdess"][1])
        tested.update(speakers["test"])
        if num_folds == 5:
            assert speakers["test"] == set(RAVDESS.folds[fold])
    assert tested == dict.fromkeys(LAYOUTS["ravdess"][1], 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": 5}, "There is no fold 5 of 5 folds of 24 speakers"),
        ({"fold": 0, "num_folds": 25}, "no fold 0 of 25 folds of 24 speakers"),
        ({"fold": 0, "split": "random"}, "Folds are by speaker, but split is 'random'"),
        ({"rename": {"clam": "neutral"}}, "RAVDESS has no emotion 'clam': did you mean 'calm'"),
    ],
)
def test_rejects_contradictory_options(ravdess, options, message):
    with pytest.raises(CorpusError, match=message):
        make_corpus("ravdess", data_dir=str(ravdess), **options).load()


def test_a_random_split_has_every_speaker_in_training(ravdess):
    rows = make_corpus(
        "ravdess", data_dir=str(ravdess), split="random", validation_fraction=0.2, test_fraction=0.2
    ).load()
    assert len(set(rows["train"]["speaker"]) & set(rows["test"]["speaker"])) > 10
    counts = [Counter(rows[split]["label"]) for split in ("train", "validation", "test")]
    assert all(len(set(count.values())) == 1 for count in counts), "each emotion has the same share of each split"
    again = make_corpus("ravdess", data_dir=str(ravdess), split="random", test_fraction=0.0).load()
    assert len(again["test"]) == 0


def test_merges_emotions_with_the_same_name(ravdess):
    rows = make_corpus("ravdess", data_dir=str(ravdess), rename={"surprised": "neutral"}).load()
    assert rows["train"].features["label"].names == ["neutral", "angry"]
    assert Counter(rows["test"]["label"]) == {0: 12, 1: 6}


def test_normalizes_speaker_names_of_tess(tmp_path):
    """One file of the real corpus has a wrong name."""
    for seed, path in enumerate(paths_of("tess")):
        write(tmp_path / path, seed)
    shutil.move(tmp_path / "OAF_neutral" / "OAF_bar_neutral.wav", tmp_path / "OAF_neutral" / "OA_bar_neutral.wav")
    rows = make_corpus("tess", data_dir=str(tmp_path)).load()
    assert Counter(s for split in rows.values() for s in split["speaker"]) == {"OA": 9, "YA": 9}


def test_one_sentence_error_for_another_corpus(ravdess):
    with pytest.raises(CorpusError, match=r"has no recordings of CREMA-D .*: give the folder"):
        make_corpus("crema_d", data_dir=str(ravdess)).load()


@pytest.mark.parametrize("name", ["crema_d", "savee"])
def test_error_says_where_to_request_a_corpus(name):
    with pytest.raises(CorpusError, match=r"has no archive to download: get it at http.*--data_dir"):
        make_corpus(name).load()


def test_verifies_a_download(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    for seed, path in enumerate(paths_of("tess")):
        write(tmp_path / "TESS" / path, seed)
    archive = Path(shutil.make_archive(str(tmp_path / "tess"), "zip", tmp_path, "TESS"))
    monkeypatch.setattr(TESS, "urls", (archive.as_uri(),))
    with pytest.raises(CorpusError, match=r"is not the file expected \(md5"):
        make_corpus("tess").fetch()
    monkeypatch.setattr(TESS, "md5", hashlib.md5(archive.read_bytes()).hexdigest())
    with pytest.raises(CorpusError, match="downloaded copy of TESS has 18 of its 2,800 recordings"):
        make_corpus("tess").fetch()
    monkeypatch.setattr(TESS, "num_recordings", 18)
    assert len(seen(make_corpus("tess").load())) == 18
    archive.unlink()
    assert make_corpus("tess").fetch() == tmp_path / "cache" / "tess" / "TESS"


@pytest.mark.corpora
def test_the_real_ravdess_is_complete(corpora_dir):
    corpus = make_corpus("ravdess", data_dir=str(corpora_dir / "ravdess"))
    rows = corpus.load()
    assert {split: len(rows[split]) for split in rows} == {"train": 1200, "validation": 120, "test": 120}
    assert Counter(rows["test"]["label"]) == {0: 8} | dict.fromkeys(range(1, 8), 16)
    assert rows["train"].features["label"].names == list(RAVDESS.emotions.values())
    assert corpus.notes == []
