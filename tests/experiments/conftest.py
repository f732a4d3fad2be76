"""Small corpora of tones and noise in their real layouts, one for each recipe; tests only read them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pictures import copy_pictures

from hf_speech.training import run as training_run

WORDS = ("YES", "NO", "GO")


def write(path: Path, seed: int, seconds: float = 0.6, rate: int = 16_000) -> None:
    """Returns noise that depends on the seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate))
    if path.suffix == ".sph":
        soundfile.write(path, samples, rate, format="NIST", subtype="PCM_16")
    else:
        soundfile.write(path, samples, rate)


def sentence(index: int) -> str:
    return f"{WORDS[index % 3]} {WORDS[index // 3 % 3]}"


def write_arabic(root: Path) -> None:
    for table, speakers in (("train", (1, 3, 4)), ("val", (2,)), ("test", (14,))):
        lines = ["file,class"]
        for seed, (word, speaker, take) in enumerate(itertools.product(("yes", "zoom in"), speakers, (1, 2))):
            name = f"dataset/{word}/{speaker:08d}_NO_{take:02d}.wav"
            write(root / name, seed + 100 * speaker, 1.0)
            lines.append(f"{name},{word}")
        (root / f"{table}.csv").write_text("\n".join(lines) + "\n")


def write_speech_commands(root: Path) -> None:
    lists: dict[str, list[str]] = {"validation_list.txt": [], "testing_list.txt": []}
    people = {"0a7c2a8d": None, "0b09edd3": None, "a69b9b3e": "validation_list.txt", "c50f55b8": "testing_list.txt"}
    for seed, (word, (speaker, file)) in enumerate(itertools.product(("yes", "no", "bed"), people.items())):
        for take in range(2):
            write(root / word / f"{speaker}_nohash_{take}.wav", 10 * seed + take, 1.0)
            if file is not None:
                lists[file].append(f"{word}/{speaker}_nohash_{take}.wav")
    for file, names in lists.items():
        (root / file).write_text("\n".join(names) + "\n")
    write(root / "_background_noise_" / "white_noise.wav", 1000, 12.0)


def write_ravdess(root: Path) -> None:
    actors = ("01", "05", "09", "13", "21", "23")
    for seed, (actor, emotion, take) in enumerate(itertools.product(actors, ("01", "02", "05", "08"), (1, 2))):
        write(root / f"Actor_{actor}" / f"03-01-{emotion}-01-0{take}-01-{actor}.wav", seed, 1.0, 48_000)


def write_crema(root: Path) -> None:
    for seed, (actor, emotion, take) in enumerate(itertools.product(range(1001, 1005), ("NEU", "ANG"), ("LO", "HI"))):
        write(root / f"{actor}_DFA_{emotion}_{take}.wav", 5000 + seed, 1.0)


def write_fsdd(root: Path) -> None:
    speakers = ("jackson", "nicolas", "theo", "yweweler")
    for seed, (digit, speaker, index) in enumerate(itertools.product((0, 7), speakers, range(11))):
        write(root / "recordings" / f"{digit}_{speaker}_{index}.wav", seed, 0.4, 8000)


def write_an4(root: Path) -> None:
    for split, people in (("train", ("fash", "fbbh", "fclc", "mdxn")), ("test", ("fcaw",))):
        names = [f"an4_clstk/{person}/an{index}-{person}-b" for person in people for index in range(3)]
        for seed, name in enumerate(names):
            write(root / "wav" / f"{name}.sph", seed + 100 * (split == "test"), 1.5)
        lines = [f"{sentence(index)} ({name.rpartition('/')[2]})" for index, name in enumerate(names)]
        (root / "etc").mkdir(parents=True, exist_ok=True)
        (root / "etc" / f"an4_{split}.fileids").write_text("\n".join(names) + "\n")
        (root / "etc" / f"an4_{split}.transcription").write_text("\n".join(lines) + "\n")
    (root / "etc" / "an4.dic").write_text("YES  Y EH S\nNO  N OW\nGO  G OW\n")


def write_ljspeech(root: Path) -> None:
    for index in range(20):
        write(root / "wavs" / f"LJ001-{index:04d}.wav", index, 1.5, 22_050)
    lines = [f"LJ001-{index:04d}|{sentence(index)}|{sentence(index).lower()}\n" for index in range(20)]
    (root / "metadata.csv").write_text("".join(lines))


def write_librispeech(root: Path) -> None:
    subsets = (("train-clean-100", ("19", "26", "27")), ("dev-clean", ("84",)), ("test-clean", ("61",)))
    for subset, speakers in subsets:
        for speaker in speakers:
            folder = root / "LibriSpeech" / subset / speaker / "198"
            for index in range(3):
                write(folder / f"{speaker}-198-{index:04d}.flac", int(speaker) * 10 + index, 1.5)
            lines = [f"{speaker}-198-{index:04d} {sentence(index)}\n" for index in range(3)]
            (folder / f"{speaker}-198.trans.txt").write_text("".join(lines))


def write_speechocean(root: Path) -> None:
    for split, speakers in (("train", ("s1", "s2", "s3", "s4")), ("test", ("s5",))):
        (root / split).mkdir(parents=True)
        files: dict[str, list[str]] = {"wav.scp": [], "text": [], "utt2spk": []}
        for place, (speaker, index) in enumerate(itertools.product(speakers, range(3))):
            name = f"{speaker}-{index}"
            write(root / "WAVE" / f"{name}.wav", place + 100 * (split == "test"), 1.5)
            files["wav.scp"].append(f"{name}\tWAVE/{name}.wav\n")
            files["text"].append(f"{name}\t{sentence(index)}\n")
            files["utt2spk"].append(f"{name} {speaker}\n")
        for name, lines in files.items():
            (root / split / name).write_text("".join(lines))


def write_pieces(root: Path) -> None:
    for table, speakers in (("train", ("1", "2")), ("validation", ("3",))):
        lines = ["path,text,speaker"]
        for index, speaker in enumerate(speakers * 4):
            write(root / table / f"{index}.flac", index, 1.2)
            lines.append(f"{table}/{index}.flac,{sentence(index)},{speaker}")
        (root / f"{table}.csv").write_text("\n".join(lines) + "\n")


def write_wake_words(root: Path) -> None:
    words = ("alexa", "computer", "jarvis", "smart mirror", "snowboy", "view glass")
    for seed, (word, take) in enumerate(itertools.product(words, range(8))):
        write(root / "audio" / word / f"{take}.wav", seed, 0.6)


def write_listening(root: Path) -> None:
    for seed, (folder, take) in enumerate(itertools.product(("librispeech", "common_voice"), range(4))):
        write(root / folder / f"{take}.flac", seed, 1.5)


def write_noise(root: Path) -> None:
    for part in ("train", "validation", "test"):
        write(root / part / "hum.wav", len(part), 2.0)


# With the folder names of the experiments.
WRITERS: dict[str, Callable[[Path], None]] = {
    "arabic_speech_commands": write_arabic,
    "speech_commands": write_speech_commands,
    "mini_speech_commands": write_speech_commands,
    "ravdess": write_ravdess,
    "crema_d": write_crema,
    "free-spoken-digit-dataset": write_fsdd,
    "an4": write_an4,
    "LJSpeech-1.1": write_ljspeech,
    "librispeech": write_librispeech,
    "speechocean762": write_speechocean,
    "pieces": write_pieces,
    "wake-word-benchmark": write_wake_words,
    "listening": write_listening,
    "noise": write_noise,
}


@pytest.fixture(scope="session")
def small_corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all corpora."""
    root = tmp_path_factory.mktemp("corpora")
    for name, writer in WRITERS.items():
        writer(root / name)
    return root


@pytest.fixture(autouse=True, scope="module")
def quick_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        copy_pictures(patch)
        yield


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The run folders that are trained after this call."""
    folders: list[str] = []
    evaluate = training_run._evaluate

    def note(*arguments, **options):
        folders.append(arguments[2].run_dir.name)
        return evaluate(*arguments, **options)

    monkeypatch.setattr(training_run, "_evaluate", note)
    return folders
