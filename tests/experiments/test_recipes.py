"""Quick versions of all recipes, and the sizes of the published models."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest

from hf_speech.experiments import EXPERIMENTS, read_run
from hf_speech.experiments.pseudo_labels import PseudoLabelItem
from hf_speech.experiments.suite import ComparisonItem, SearchItem
from hf_speech.training import load_recipe, train
from hf_speech.training.building import make_feature_extractor
from hf_speech.training.preparation import prepare
from hf_speech.training.recipe import recipe_files, recipes_dir

# Layers as they are, of fewer units: what is checked is that everything fits together.
NARROW = ["--model.hidden_size", "16"]
NARROW_CTC = [*NARROW, "--model.channels", "16", "--training.max_batch_seconds", "6"]
SHORT = ["--features.max_duration", "0.02"]  # 441 of the 17,640 steps
OTHER_SUBSETS = ["--train_subsets", "[train-clean-100]", "--validation_subsets", "[dev-clean]"]
TABLES = ["--corpus.1.data_dir", "pieces", "--corpus.1.test_file", "null"]
# The corpus and quick settings of each recipe.
QUICK: dict[str, tuple[str, list[str]]] = {
    "all_english": (".", [*NARROW_CTC, *TABLES]),
    "an4": ("an4", NARROW_CTC),
    "an4-streaming": ("an4", NARROW_CTC),
    "arabic_commands": ("arabic_speech_commands", []),
    "emotion": ("ravdess", []),
    "english": ("librispeech", [*NARROW_CTC, *OTHER_SUBSETS, "--validation_speakers", "[]"]),
    "english_pieces": ("pieces", NARROW_CTC),
    "folder": ("arabic_speech_commands/dataset", []),
    "fsdd": ("free-spoken-digit-dataset", []),
    "fsdd_raw": ("free-spoken-digit-dataset", []),
    "librispeech": ("librispeech", NARROW_CTC),
    "mini_librispeech": ("librispeech", [*NARROW_CTC, *OTHER_SUBSETS]),
    "mini_speech_commands": ("speech_commands", []),
    "ljspeech": ("LJSpeech-1.1", NARROW_CTC),
    "speech_commands": ("speech_commands", ["--corpus.classes", "12"]),
    "speechocean762": ("speechocean762", NARROW_CTC),
    "voice_activity": (
        ".",
        [
            "--train_speech",
            "[CORPORA/an4]",
            "--validation_speech",
            "[CORPORA/an4]",
            "--test_speech",
            "[CORPORA/an4]",
            "--train_noise",
            "[CORPORA/noise]",
        ],
    ),
    "wake_words": ("arabic_speech_commands/dataset", ["--keywords", "[zoom in]"]),
    "sentences": ("pieces", [*NARROW_CTC, "--train_file", "train.csv"]),
    "published/deepspeech2_ljspeech": ("LJSpeech-1.1", NARROW),
    "published/digits_mel": ("free-spoken-digit-dataset", []),
    "published/digits_mel_augmented": ("free-spoken-digit-dataset", []),
    "published/digits_raw": ("free-spoken-digit-dataset", SHORT),
    "published/digits_raw_augmented": ("free-spoken-digit-dataset", SHORT),
    "published/mfcc_lstm_commands": ("arabic_speech_commands", []),
    "published/mfcc_lstm_emotion": ("ravdess", []),
    "published/residual_librispeech": ("librispeech", NARROW),
}
# Those of the published kind that hold out one part only: a validation split on which nothing is chosen.
WITHOUT_TEST = {name for name in QUICK if name.startswith("published/digits")} | {
    *("published/mfcc_lstm_emotion", "english_pieces")
}
FAST = {"published/mfcc_lstm_emotion", "published/digits_mel_augmented", "published/residual_librispeech"}


def words(small_corpora: Path, name: str) -> list[str]:
    corpus, quick = QUICK[name]
    common = ["--data_dir", str(small_corpora / corpus), "--training.max_steps", "2"]
    common += ["--training.per_device_train_batch_size", "4", "--training.dataloader_num_workers", "0"]
    return [*common, *(word.replace("CORPORA/", f"{small_corpora}/") for word in quick)]


def test_every_recipe_has_a_quick_version() -> None:
    there = {str(path.relative_to(recipes_dir()).with_suffix("")) for path in recipe_files()}
    # test_main_job.py runs digits.yaml, test_from_text.py from_text.yaml, and test_suite.py words_from_text.yaml;
    # accelerate's settings are no recipes.
    elsewhere = {"digits", "from_text", "words_from_text"}
    assert {name for name in there if not name.startswith("accelerate/")} == set(QUICK) | elsewhere


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in QUICK])
def test_trains_a_few_steps_on_a_few_clips(small_corpora: Path, tmp_path: Path, cache: Path, name: str) -> None:
    result = train(load_recipe(name, words(small_corpora, name)), tmp_path / "run")
    record = read_run(result.run_dir)
    assert set(record.evaluations) == {"validation"} if name in WITHOUT_TEST else {"validation", "test"}
    assert record.num_parameters > 1000
    assert (result.run_dir / "curves.png").is_file()
    if "augmented" in name:
        assert len(list(cache.rglob("copies/*/*.wav"))) == 8 * 70, "eight new ones of each of 70"
    if name.startswith("published/digits"):
        assert list((result.run_dir / "logs").glob("events.out.tfevents*"))


def extractor_of(name: str) -> Any:
    return make_feature_extractor(load_recipe(name))


def test_the_published_mfccs_equal_those_of_librosa() -> None:
    rate = 22_050
    samples = np.random.default_rng(0).normal(0, 0.1, 4 * rate).astype(np.float32)
    window = samples[rate // 2 : rate // 2 + 3 * rate]
    expected = librosa.feature.mfcc(y=window, sr=rate, n_mfcc=40)[:, : len(window) // 512]
    features = extractor_of("published/mfcc_lstm_emotion")(samples, sampling_rate=rate)
    assert features["input_features"].shape == (1, 1, 40)
    np.testing.assert_allclose(features["input_features"][0, 0], expected.mean(axis=1), atol=0.05)
    commands = extractor_of("published/mfcc_lstm_commands")
    ours = commands(samples[:16_000], sampling_rate=16_000)["input_features"]
    expected = librosa.feature.mfcc(y=samples[:16_000], sr=16_000, n_mfcc=13).T[:31]
    np.testing.assert_allclose(ours[0], expected, atol=0.05)
    short = commands(samples[:8000], sampling_rate=16_000)
    assert short["input_features"].shape == (1, 31, 13), "padded to a fixed size"
    assert short["attention_mask"].sum() == 15


def test_the_published_digits_have_the_published_shapes() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 10_000).astype(np.float32)
    raw = extractor_of("published/digits_raw")(samples, sampling_rate=22_050)
    assert raw["input_features"].shape == (1, 17_640, 1)
    assert raw["attention_mask"].sum() == 10_000
    np.testing.assert_allclose(raw["input_features"][0, :10_000, 0], samples / np.abs(samples).max(), rtol=1e-5)
    mel = extractor_of("published/digits_mel")(samples, sampling_rate=22_050)
    assert mel["input_features"].shape == (1, 35, 64)
    assert extractor_of("published/digits_mel").num_frames(30_000) == 35
    assert extractor_of("published/deepspeech2_ljspeech").feature_size == 193


def test_the_published_models_have_the_published_size(small_corpora: Path) -> None:
    def parts_of(name: str) -> Any:
        return prepare(load_recipe(name, words(small_corpora, name)))[0]

    emotion = parts_of("published/mfcc_lstm_emotion").model
    assert emotion.layers[0].forward_rnn.weight_ih_l0.shape == (4 * 128, 1)
    assert [layer.out_features for layer in emotion.head] == [64, 32]
    augmented = parts_of("published/digits_mel_augmented")
    assert len(augmented.datasets["train"]) == 9 * 70
    plain = parts_of("published/digits_mel")
    assert {split: len(rows) for split, rows in plain.corpus.items()} == {"train": 70, "validation": 18, "test": 0}


@pytest.mark.corpora
def test_1600_digits_become_14400(fsdd_dir: Path) -> None:
    rows = load_recipe("published/digits_mel", ["--data_dir", str(fsdd_dir)]).corpus.load()
    assert {split: len(rows[split]) for split in rows} == {"train": 1600, "validation": 400, "test": 0}
    options = load_recipe("published/digits_mel_augmented").augmentation
    assert options.tempo_copies == [0.7, 1.0, 1.3]
    assert options.pitch_copies == [-1.0, 0.0, 1.0]


def test_commands_of_the_experiments_are_valid(small_corpora: Path) -> None:
    """All recipes, options and variants exist."""
    from hf_speech.experiments.variants import parse_axis, parse_range, variants_of

    items = [item for experiment in EXPERIMENTS for item in experiment.items]
    names = [item.name for item in items] + [experiment.name for experiment in EXPERIMENTS]
    assert len(set(names)) == len(names)
    for item in items:
        librispeech = str(small_corpora / "librispeech" / "LibriSpeech")
        overrides = [
            re.sub("CORPORA/LibriSpeech/(some|train-clean-5)", f"{librispeech}/train-clean-100", word)
            .replace("CORPORA/LibriSpeech", librispeech)
            .replace("CORPORA", str(small_corpora))
            for word in item.overrides
        ]
        place = [] if item.tested_on else ["--data_dir", str(small_corpora / item.folder)]
        given = [*place, *overrides]
        variants = [[]]
        if isinstance(item, ComparisonItem):
            variants = [variant.overrides for variant in variants_of([parse_axis(axis) for axis in item.over])]
        for variant in variants:
            recipe = load_recipe(item.recipe, [*given, *variant])
            make_feature_extractor(recipe)
            # Synthesizing speech takes minutes and voices that are not here, labels a trained teacher.
            assert item.tested_on or isinstance(item, PseudoLabelItem) or recipe.corpus.load()["train"].num_rows
        if isinstance(item, SearchItem):
            for axis in map(parse_axis, item.over):
                assert parse_range(axis.choices[0][0]) or len(axis.choices) > 1
                load_recipe(item.recipe, [*given, f"--{axis.keys[0]}", axis.choices[0][0].partition("..")[0]])
