"""Speech Commands: the official lists, twelve classes, and missing, unknown and duplicate files."""

from __future__ import annotations

import hashlib
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_speech.data import inspect_corpus, make_corpus, read_audio
from hf_speech.data.corpora import speech_commands
from hf_speech.data.corpora.speech_commands import COMMANDS, OTHER_WORDS
from hf_speech.errors import CorpusError

pytestmark = pytest.mark.usefixtures("cache")

WORDS = ("yes", "no", "bed", "zero", "forward")
SPEAKERS = {"train": ("0a7c2a8d", "0b09edd3", "1ecfb537"), "validation": ("a69b9b3e",), "test": ("c50f55b8",)}
NOISE_SECONDS = 12


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five words by five speakers, four takes each, in the layout of the archive."""
    rng = np.random.default_rng(0)
    root = tmp_path / "speech_commands_v0.02"
    lists: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for word in WORDS:
        (root / word).mkdir(parents=True)
        for split, speakers in SPEAKERS.items():
            for speaker in speakers:
                for take in range(4):
                    name = f"{word}/{speaker}_nohash_{take}.wav"
                    soundfile.write(root / name, rng.normal(0, 0.1, 1600), 16_000)
                    lists[split].append(name)
    (root / "validation_list.txt").write_text("\n".join(lists["validation"]) + "\n")
    (root / "testing_list.txt").write_text("\n".join(lists["test"]) + "\n")
    noise = root / "_background_noise_"
    noise.mkdir()
    for name in ("doing_the_dishes", "white_noise"):
        # Every sample says at which second it is, so each excerpt tells where it was cut.
        ramp = np.arange(NOISE_SECONDS * 16_000) / (NOISE_SECONDS * 16_000)
        soundfile.write(noise / f"{name}.wav", ramp, 16_000)
    (noise / "README.md").write_text("noise")
    (root / "LICENSE").write_text("CC BY 4.0")
    return root


def load(root: Path, **options):
    return make_corpus("speech_commands", data_dir=str(root), **options).load()


def labels(rows) -> Counter[str]:
    return Counter(rows.features["label"].int2str(list(rows["label"])))


def test_the_lists_define_the_split(root):
    corpus = load(root)
    for split, speakers in SPEAKERS.items():
        assert labels(corpus[split]) == dict.fromkeys(WORDS, 4 * len(speakers))
        assert set(corpus[split]["speaker"]) == set(speakers)
    assert corpus["train"].features["label"].names == sorted(WORDS)
    for row in corpus["test"]:
        path = Path(row["audio"]["path"])
        assert path.parent.name == corpus["test"].features["label"].int2str(row["label"])
        assert path.name.startswith(row["speaker"])


def test_the_twelve_classes_of_the_challenge(root):
    corpus = load(root, classes="12", unknown_fraction=0.5, silence_fraction=0.25)
    assert corpus["train"].features["label"].names == ["yes", "no", "unknown", "silence"]
    assert labels(corpus["train"]) == {"yes": 12, "no": 12, "unknown": 12, "silence": 6}
    assert labels(corpus["test"]) == {"yes": 4, "no": 4, "unknown": 4, "silence": 2}
    unknown = [row for row in corpus["train"] if row["label"] == 2]
    assert {Path(row["audio"]["path"]).parent.name for row in unknown} == {"bed", "zero", "forward"}
    assert all(row["speaker"] in SPEAKERS["train"] for row in unknown)


def test_no_segment_of_noise_is_in_two_splits(root):
    corpus = load(root, classes="12", silence_fraction=2.0)
    spans = {}
    for split, rows in corpus.items():
        sounds = [read_audio(row["audio"], 16_000) for row in rows if row["label"] == 3]
        assert len(sounds) == 2 * 8 * len(SPEAKERS[split])
        assert {len(sound) for sound in sounds} == {16_000}
        spans[split] = (min(sound.min() for sound in sounds), max(sound.max() for sound in sounds))
    assert spans["train"][1] <= 0.801 <= spans["validation"][0] + 0.002
    assert spans["validation"][1] <= 0.901 <= spans["test"][0] + 0.002


def test_the_same_seed_chooses_the_same_clips(root):
    def paths(seed: int) -> list[str]:
        return [audio["path"] for audio in load(root, classes="12", unknown_fraction=0.3, seed=seed)["train"]["audio"]]

    assert paths(0) == paths(0)
    assert paths(0) != paths(1)


def test_a_missing_file_is_reported(root):
    missing = root / "yes" / f"{SPEAKERS['test'][0]}_nohash_2.wav"
    missing.unlink()
    corpus = make_corpus("speech_commands", data_dir=str(root))
    with pytest.raises(CorpusError, match=f"1 missing.*{missing.name} does not exist"):
        inspect_corpus(corpus.load(), corpus, 16_000)
    corpus.bad_rows = "skip"
    good, report = inspect_corpus(corpus.load(), corpus, 16_000)
    assert report.num_bad == 1
    assert len(good["test"]) == 19


@pytest.mark.parametrize("name", ["yes/hello.wav", "yes/0a7c2a8d_nohash_x.wav", "yes/notes.txt"])
def test_rejects_or_skips_an_unknown_name(root, name):
    (root / name).write_bytes(b"?")
    with pytest.raises(CorpusError, match=f"1 utterance .*{name} is not named SPEAKER_nohash_NUMBER.wav"):
        load(root)
    assert sum(len(rows) for rows in load(root, bad_rows="skip").values()) == 100


def test_ignores_an_unknown_word(root):
    (root / "hello").mkdir()
    soundfile.write(root / "hello" / "0a7c2a8d_nohash_0.wav", np.zeros(1600), 16_000)
    corpus = make_corpus("speech_commands", data_dir=str(root))
    assert set(labels(corpus.load()["train"])) == set(WORDS)
    assert "1 folder of other words than those of Speech Commands was left out" in corpus.notes[0]
    assert "such as hello" in corpus.notes[0]


@pytest.mark.parametrize("other", ["testing_list.txt", "validation_list.txt"])
def test_rejects_or_skips_a_duplicate_in_the_lists(root, other):
    name = f"yes/{SPEAKERS['validation'][0]}_nohash_0.wav"
    with (root / other).open("a") as file:
        file.write(f"{name}\n")
    with pytest.raises(CorpusError, match=f"{name} is listed a second time by .*{other}, line "):
        load(root)
    corpus = load(root, bad_rows="skip")
    assert not [audio for rows in corpus.values() for audio in rows["audio"] if audio["path"].endswith(name)]


@pytest.mark.parametrize("file", ["validation_list.txt", "testing_list.txt"])
def test_error_if_the_lists_are_missing(root, file):
    (root / file).unlink()
    with pytest.raises(CorpusError, match=f"has no {file}: .*the corpus 'folder'"):
        load(root)


def test_silence_needs_noise(root):
    for path in (root / "_background_noise_").iterdir():
        path.unlink()
    with pytest.raises(CorpusError, match=r"no recordings in _background_noise_ .*silence_fraction: 0"):
        load(root, classes="12")
    assert "silence" not in labels(load(root, classes="12", silence_fraction=0)["train"])


def test_there_are_35_words():
    assert len(set(COMMANDS) | set(OTHER_WORDS)) == len(COMMANDS) + len(OTHER_WORDS) == 35


@pytest.mark.parametrize("version", ["v0.01", "v0.02"])
def test_downloads_each_version_once(root, tmp_path, monkeypatch, version):
    archive = tmp_path / f"speech_commands_{version}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:  # Without a top-level folder, like the published archive.
        for path in sorted(root.iterdir()):
            tar.add(path, f"./{path.name}")
    monkeypatch.setattr(speech_commands, "URL", tmp_path.as_uri() + "/speech_commands_{}.tar.gz")
    corpus = make_corpus("speech_commands", version=version)
    with pytest.raises(CorpusError, match="is not the file expected"):
        corpus.load()
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(speech_commands.ARCHIVES, version, digest)
    assert len(corpus.load()["train"]) == 60
    archive.unlink()
    assert len(make_corpus("speech_commands", version=version).load()["test"]) == 20
