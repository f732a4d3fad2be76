"""Examples of a corpus: selection, augmentation as in training, and files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_speech.data.audio import read_audio
from hf_speech.data.augmentation import Augmentation
from hf_speech.exploration import Exploration
from hf_speech.exploration.examples import (
    Example,
    Version,
    choose_examples,
    compute_features,
    describe,
    every_nth,
    make_examples,
    mask_features,
    save_examples,
)
from hf_speech.exploration.table import Entry
from hf_speech.models import ConvGRUConfig, SpeechFeatureExtractor
from hf_speech.training import load_recipe
from hf_speech.training.preparation import prepare


def entry(target: str, speaker: str | None, duration: float) -> Entry:
    return Entry("train", f"{target}-{speaker}-{duration}.wav", target, speaker, duration, 8000, True)


def test_chooses_short_and_long_examples_of_many_speakers():
    entries = [entry(target, f"s{i % 4}", 1 + i) for target in ("b", "a") for i in range(20)]
    chosen = [entries[position] for position in choose_examples(entries, 2, ["a", "b", "never"])]
    assert [example.target for example in chosen] == ["a", "a", "b", "b"]
    assert len({example.speaker for example in chosen}) == 4
    assert chosen[0].duration <= 10 < chosen[1].duration
    assert chosen[2].duration <= 10 < chosen[3].duration


def test_limits_the_classes_with_examples():
    names = [f"class {index:03}" for index in range(240)]
    shown = every_nth(names)
    assert shown is not None
    assert (len(shown), shown[0], shown[-1]) == (40, names[0], names[-1])
    assert len(set(shown)) == 40
    assert every_nth(names[:40]) == names[:40]
    assert every_nth(None) is None
    entries = [entry(name, None, index % 7 + 1.0) for index, name in enumerate(names)]
    assert [entries[position].target for position in choose_examples(entries, 2, shown)] == shown


def test_spreads_examples_of_transcripts_over_durations():
    entries = [entry(f"text {i}", None, float(40 - i)) for i in range(40)]
    positions = choose_examples(entries, 4)
    assert [int(entries[position].duration - 1) // 10 for position in positions] == [0, 1, 2, 3]
    assert positions == choose_examples(entries, 4)
    assert any(positions != choose_examples(entries, 4, seed=seed) for seed in range(1, 9))


@pytest.mark.parametrize(("available", "wanted", "given"), [(3, 5, 3), (1, 1, 1), (0, 2, 0)])
def test_chooses_at_most_all_utterances(available: int, wanted: int, given: int):
    entries = [entry("a", None, float(i)) for i in range(available)]
    assert len(set(choose_examples(entries, wanted))) == given


def test_augmented_versions_equal_those_of_training(explored_beeps: Exploration, beeps_recipe: Path):
    """The waveforms equal those of the first training epochs of this recipe."""
    varied = ["--augmentation.speed", "[0.8,1.2]", "--augmentation.noise_snr", "[10,20]", "--augmentation.joining"]
    varied += ["0.7", "--train_file", "spoken.csv", "--speaker_column", "speaker"]
    parts, _ = prepare(load_recipe(beeps_recipe, [*varied, "--augmentation.gain", "[12,14]"]))
    paths = [row["audio"]["path"] for row in parts.corpus["train"]]
    assert len(explored_beeps.examples) == 3
    for epoch in range(3):
        parts.datasets["train"].set_epoch(epoch)
        for example in explored_beeps.examples:
            version = example.versions[1 + epoch]
            assert version.title == f"epoch {epoch + 1}"
            expected = parts.datasets["train"][paths.index(example.entry.path)]
            np.testing.assert_array_equal(version.waveform, expected["waveform"])
            said = parts.tokenizer.decode(expected["target"], group_tokens=False)
            assert version.target.replace(" + ", " ") == said
            assert version.joined == (" + " in version.target) == ("joined with another utterance" in version.done)


def test_versions_differ_and_describe_their_augmentation(explored_beeps: Exploration):
    for example in explored_beeps.examples:
        assert not example.versions[0].done
        sounds = {version.waveform.tobytes() for version in example.versions}
        assert len(sounds) == 4
    phrases = " ".join(done for example in explored_beeps.examples for v in example.versions for done in v.done)
    for phrase in ("times the speed", "dB below the speech", "gain +1", "% of the time masked", "joined with"):
        assert phrase in phrases


def test_sound_files_contain_the_versions(explored_beeps: Exploration):
    folder = explored_beeps.folder / "examples"
    assert len(list(folder.iterdir())) == 2 * 3 * 4
    loudest = 0.0
    for example in explored_beeps.examples:
        for version in example.versions:
            samples, rate = soundfile.read(folder / version.sound)
            assert rate == 8000
            assert len(samples) == len(version.waveform)
            # Steps of 16 bits.
            np.testing.assert_allclose(samples * example.louder, version.waveform, atol=example.louder / 32000)
            loudest = max(loudest, float(np.abs(version.waveform).max()))
            assert (folder / version.image).read_bytes()[:4] == b"\x89PNG"
    assert loudest > 1  # 12 dB more than 0.3: without being turned down they would be clipped


def test_masks_follow_the_model_and_are_described():
    config = ConvGRUConfig(num_time_masks=1, time_mask_width=40, max_time_mask_ratio=0.9, num_frequency_masks=1)
    config.frequency_mask_width = 30
    features = np.random.default_rng(0).normal(5, 1, (100, 60)).astype(np.float32)
    masked, done = mask_features(features, config, (0, 1, 2))
    again, _ = mask_features(features, config, (0, 1, 2))
    np.testing.assert_array_equal(masked, again)
    assert (mask_features(features, config, (0, 1, 3))[0] != masked).any()
    shares = []
    for seed in range(20):
        masked, done = mask_features(features, config, (seed,))
        changed = masked != features
        time, frequency = changed.all(1).mean(), changed.all(0).mean()
        shares.append((time, frequency))
        expected = [(time, "of the time"), (frequency, "of the frequencies")]
        assert done == [f"{share:.0%} {what} masked" for share, what in expected if share]
    assert (np.max(shares, axis=0) <= (0.4, 0.5)).all()
    assert (np.max(shares, axis=0) > 0.3).all()


def test_distinguishes_warping_from_masks():
    features = np.random.default_rng(0).normal(0, 1, (50, 40)).astype(np.float32)
    _, done = mask_features(features, ConvGRUConfig(frequency_warp=0.2), (0,))
    assert done == ["frequencies warped"]
    same, done = mask_features(features, ConvGRUConfig(), (0,))
    assert done == []
    np.testing.assert_array_equal(same, features)


def test_recorded_steps_match_the_augmentation(make_tone):
    augmentation = Augmentation(
        probability=1.0, speed=(1.1, 1.2), pitch=(-2, -1), tempo=(0.8, 0.9), silence=(-0.05, 0.1), equalizer=6,
        noise_snr=(20, 30), gain=(-6, -3),
    )  # fmt: skip
    applied: dict[str, tuple[float, ...]] = {}
    samples = make_tone(0.5)
    varied = augmentation(samples, 16000, np.random.default_rng(3), applied)
    np.testing.assert_array_equal(varied, augmentation(samples, 16000, np.random.default_rng(3)))
    assert list(applied) == ["speed", "pitch", "tempo", "silence", "equalizer", "noise_snr", "gain"]
    for name, values in applied.items():
        low, high = (6, 6) if name == "equalizer" else getattr(augmentation, name)
        assert all(low - 1e-4 <= value <= high + 1e-4 for value in values), name
    length = 0.5 / applied["speed"][0] / applied["tempo"][0] + sum(applied["silence"])
    assert len(varied) / 16000 == pytest.approx(length, rel=0.02)
    assert len(describe(applied)) >= 7


def test_describes_augmentation_steps():
    applied = {"speed": (1.1,), "silence": (-0.031, 0.052), "noise_snr": (12.4,), "novelty": (3.0,)}
    assert describe(applied) == [
        "1.10 times the speed",
        "0.03 s cut before",
        "0.05 s of silence after",
        "noise 12 dB below the speech",
        "novelty 3",
    ]
    assert describe({"silence": (0.001, -0.002)}) == []


def test_reports_an_utterance_without_features(tmp_path: Path, make_tone):
    soundfile.write(tmp_path / "a.wav", make_tone(0.5), 16000)
    soundfile.write(tmp_path / "b.wav", make_tone(0.005), 16000)
    entries = [Entry("train", str(tmp_path / f"{name}.wav"), name, None, 0.5, 16000, True) for name in "abc"]
    rows = [{"audio": {"path": entry.path, "bytes": None}} for entry in entries]
    examples, problems = make_examples(entries, rows, [0, 1, 2], SpeechFeatureExtractor())  # type: ignore[arg-type]
    assert [example.entry.target for example in examples] == ["a"]
    assert len(problems) == 2
    assert "b.wav" in problems[0]
    assert "less than one hop" in problems[0]
    assert "c.wav does not exist" in problems[1]


@pytest.mark.parametrize("said", ["../../etc/passwd", "what is 1/2 * 3?", "", "καλημέρα κόσμε", "x" * 300])
def test_sanitizes_file_names(said: str, tmp_path: Path, make_tone):
    extractor = SpeechFeatureExtractor()
    samples = make_tone(0.2)
    version = Version("original", samples, compute_features(samples, extractor), [], said)
    save_examples([Example(entry(said, None, 0.2), [version])], tmp_path / "examples", extractor)
    assert sorted(path.name for path in (tmp_path / "examples").iterdir()) == sorted([version.image, version.sound])
    assert version.sound.startswith("01-")
    assert len(version.sound) < 50
    shutil.rmtree(tmp_path / "examples")
    assert not any(tmp_path.iterdir())


def test_originals_are_the_input_of_the_model(explored_tones: Exploration):
    for example in explored_tones.examples:
        (version,) = example.versions
        np.testing.assert_array_equal(version.waveform, read_audio(example.entry.path, 8000))
        assert example.louder == 1
