"""Detectors of a new keyword; tests/tasks/test_keyword_spotting.py trains one from another keyword spotter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from command_line import run

from hf_speech.errors import AudioError, CorpusError, RecipeError
from hf_speech.inference import Detector, LoadedModel, load_model
from hf_speech.inference.pytorch import phone_model
from hf_speech.models import ConvGRUConfig, ConvGRUForCTC, SpeechFeatureExtractor, SpeechProcessor
from hf_speech.tasks import AutomaticSpeechRecognition
from hf_speech.training.enroll import enroll, enrollment_recipe
from hf_speech.training.enroll_recognizer import clips_in_context, compute_logits, negative_logits
from hf_speech.training.recipe import Recipe
from hf_speech.training.warm_start import BaseModel

PRETRAINED = Path(__file__).parents[2] / "pretrained"


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[Path], list[str]]:
    """The arguments after the model, without synthesized clips."""
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("hf_speech.training.enroll.importlib.util.find_spec", lambda name: None)
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    for name in ("clips/1.wav", "clips/2.wav", "clips/3.wav", "noise/1.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, noise, 16_000)
    return "hey", [tmp_path / "clips"], ["--train_negatives", json.dumps([str(tmp_path / "noise")])]


@pytest.fixture(scope="module")
def enrolled(beeps_run: Path, make_beeps: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A recognizer of tones with the enrolled keyword "abc", and the arguments that enrolled it."""
    folder = tmp_path_factory.mktemp("enrolled")
    for name, texts in (("clips", ["abc"] * 5), ("negatives", ["cab ba", "ab ca bb", "ba c cb", "bc ab", "acb"] * 4)):
        (folder / name).mkdir()
        for index, text in enumerate(texts):
            soundfile.write(folder / name / f"{index}.wav", make_beeps(text, seed=index), 8000)
    words = [
        "listen",
        str(beeps_run),
        str(folder / "clips"),
        "--enroll",
        "abc",
        "--negatives",
        str(folder / "negatives"),
    ]
    words += ["--output_dir", str(folder / "abc")]
    assert run(*words) == 0
    return folder / "abc", words


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_recognizer_detects_the_keyword_without_training(enrolled: tuple[Path, list[str]], make_beeps: Any) -> None:
    detector = Detector(enrolled[0], threshold=0.0)
    assert detector.keywords == ("abc",)
    sound = np.concatenate([make_beeps(text, seed=90 + index) for index, text in enumerate(("cab", "abc", "ba c"))])
    (event,) = detector.listen([sound])
    first, second = (len(make_beeps(*words)) / 8000 for words in (("cab", 8000, 90), ("abc", 8000, 91)))
    assert first < event.time < first + second + 0.5
    pieces = [sound[start : start + 777] for start in range(0, len(sound), 777)]
    (same,) = Detector(enrolled[0], threshold=0.0).listen(pieces)
    assert same.time == event.time
    assert same.score == pytest.approx(event.score, abs=1e-4)
    assert not list(detector.listen([make_beeps("cba ca", seed=95)]))


def test_clips_are_put_between_negatives(words: tuple[str, list[Path], list[str]], tmp_path: Path) -> None:
    clips = sorted((tmp_path / "clips").iterdir())
    (tmp_path / "noise" / "2.wav").write_bytes(b"damaged")
    waveforms = [clips_in_context(clips * 4, [str(tmp_path / "noise")], 8000), clips_in_context(clips, [], 8000)]
    # A second before, half a second after, and one of the clip.
    assert all(2.5 * 8000 <= len(own["array"]) <= 5 * 8000 for own in waveforms[0])
    assert 1 <= len(waveforms[0]) < 12, "those with a damaged negative are left out"
    assert [own["sampling_rate"] for own in waveforms[1]] == [8000] * 3


def test_the_folder_remains_a_recognizer_and_is_replaced_only_on_request(
    enrolled: tuple[Path, list[str]],
    make_beeps: Any,
    beeps_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, words = enrolled
    soundfile.write(tmp_path / "clip.wav", make_beeps("ab c", seed=5), 8000)
    texts = []
    for model in (folder, beeps_run):
        capsys.readouterr()
        assert run("transcribe", str(model), str(tmp_path / "clip.wav")) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert run(*words) == 2
    assert "add --overwrite" in capsys.readouterr().err
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SpeechProcessor, "save_pretrained", interrupt)
        assert run(*words[:-1], str(tmp_path / "interrupted")) != 0
    assert run(*words[:-1], str(tmp_path / "interrupted"), "--overwrite") == 0
    assert run(*words, "--overwrite") == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file.txt").write_text("mine")
    assert run(*words[:-1], str(tmp_path / "mine"), "--overwrite") == 2
    assert "no enrolled keyword" in capsys.readouterr().err
    assert run("listen", str(beeps_run), str(tmp_path / "clip.wav")) == 2
    assert "is a model for automatic-speech-recognition" in capsys.readouterr().err
    assert run("export", str(folder), "--output", str(tmp_path / "onnx")) == 2
    assert "enrolled keywords, which cannot be exported" in capsys.readouterr().err
    assert not (tmp_path / "onnx").exists()


def test_a_recognizer_needs_recordings_in_which_it_recognizes_something(
    beeps_run: Path, words: tuple[str, list[Path], list[str]]
) -> None:
    for path in words[1][0].iterdir():
        soundfile.write(path, np.zeros(8000), 8000)
    with pytest.raises(CorpusError, match="recognizes too little"):
        enroll(str(beeps_run), *words)


def test_the_logits_of_negatives_are_kept_without_unreadable_ones(
    beeps_run: Path,
    make_beeps: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "others"
    folder.mkdir()
    for index, text in enumerate(("cab ba", "acb", "bc")):
        soundfile.write(folder / f"{index}.wav", make_beeps(text, seed=index), 8000)
    (folder / "damaged.wav").write_bytes(b"RIFF")
    (folder / "missing.wav").symlink_to(folder / "nowhere.wav")
    model = load_model(beeps_run, device="cpu")
    expected = compute_logits(model, [folder / f"{index}.wav" for index in range(3)])
    first = negative_logits(model, [str(folder)], "train_negatives")
    monkeypatch.setattr("hf_speech.training.enroll_recognizer.predict", lambda *a, **o: pytest.fail("computed again"))
    for outputs in (first, negative_logits(model, [str(folder)], "train_negatives")):
        assert outputs.seconds == expected.seconds
        assert len(outputs.skipped) == 2
        for one, other in zip(outputs.logits, expected.logits, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)
    assert capsys.readouterr().err.count("2 recordings of train_negatives are skipped, such as: ") == 2
    (folder / "0.wav").write_bytes(b"changed")
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        negative_logits(model, [str(folder)], "train_negatives")


def test_reports_clips_and_negatives_that_cannot_be_read(
    beeps_run: Path, words: tuple[str, list[Path], list[str]]
) -> None:
    (words[1][0].parent / "noise" / "1.wav").write_bytes(b"RIFF")
    with pytest.raises(CorpusError, match=r"No recording of train_negatives can be read; the first: .*1\.wav"):
        enroll(str(beeps_run), *words)
    (words[1][0] / "2.wav").write_bytes(b"RIFF")
    with pytest.raises(AudioError, match=r"2\.wav"):
        enroll(str(beeps_run), *words)


@pytest.mark.parametrize("layer", [1, 2])
def test_a_phone_model_has_the_phones_of_the_last_layer_as_logits(layer: int) -> None:
    torch.manual_seed(0)
    extractor = SpeechFeatureExtractor(sampling_rate=8000, num_mel_bins=16, hop_length=80, normalization="none")
    config = ConvGRUConfig(
        **{
            "input_size": 16,
            "channels": 8,
            "stem_channels": 2,
            "hidden_size": 8,
            "num_hidden_layers": 2,
            "lookahead": 3,
        },
        **{"bidirectional": False, "causal": True, "vocab_size": 5, "num_phones": 3, "intermediate_layer": layer},
        intermediate_ctc_weight=0.5,
    )
    loaded = LoadedModel(ConvGRUForCTC(config).eval(), extractor, AutomaticSpeechRecognition(), "tiny")
    phones = phone_model(loaded, ["x", "y"])
    sounds = [
        np.random.default_rng(seed).normal(0, 0.1, size).astype(np.float32) for seed, size in enumerate((4000, 7000))
    ]
    outputs = loaded.run(sounds)
    if layer == 1:
        assert phones is loaded
        return
    assert phones.labels == ("<blank>", "x", "y")
    for sound, before, after in zip(sounds, outputs, phones.run(sounds), strict=True):
        np.testing.assert_array_equal(after.logits, before.phone_logits)
        stream = phones.stream()
        pieces = [stream.accept(sound[:1111]), stream.accept(sound[1111:]), stream.finish()]
        count = len(sound) // (80 * config.stride)
        np.testing.assert_allclose(np.concatenate(pieces), after.logits[:count], atol=1e-5)
    np.testing.assert_array_equal(loaded.run(sounds)[0].logits, outputs[0].logits)
    assert loaded.model.config.vocab_size == 5


def test_the_recipe_continues_a_keyword_spotter(words: tuple[str, list[Path], list[str]]) -> None:
    recipe = enrollment_recipe(BaseModel.open(str(PRETRAINED / "wake-words")), *words)
    assert recipe.task.name == "keyword-spotting"
    assert (recipe.model["hidden_size"], recipe.model["intermediate_ctc_weight"]) == (64, 0)


@pytest.mark.parametrize("name", ["an4", "fsdd-digits"])
def test_rejects_a_bidirectional_model(words: tuple[str, list[Path], list[str]], name: str) -> None:
    with pytest.raises(RecipeError, match="cannot process a stream"):
        enrollment_recipe(BaseModel.open(str(PRETRAINED / name)), *words)


def test_opens_the_model_once_to_choose_and_once_to_resolve_the_recipe(
    words: tuple[str, list[Path], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, opens = [], BaseModel.open

    def count(init_from: str) -> BaseModel:
        opened.append(init_from)
        return opens(init_from)

    def train(recipe: Recipe, *arguments: Any, **options: Any) -> None:
        raise StopIteration

    monkeypatch.setattr(BaseModel, "open", count)
    monkeypatch.setattr("hf_speech.training.enroll.train", train)
    with pytest.raises(StopIteration):
        enroll(str(PRETRAINED / "wake-words"), *words)
    assert len(opened) == 2


def test_names_a_missing_recording(words: tuple[str, list[Path], list[str]], tmp_path: Path) -> None:
    word, _, options = words
    with pytest.raises(CorpusError, match=r"There is no recording .*none: give recordings"):
        enrollment_recipe(BaseModel.open(str(PRETRAINED / "wake-words")), word, [tmp_path / "none"], options)
    with pytest.raises(CorpusError, match=r"Only 1 recording of 'hey': record it at least 3 times"):
        enrollment_recipe(BaseModel.open(str(PRETRAINED / "wake-words")), word, [tmp_path / "clips" / "1.wav"], options)


def test_needs_negatives(words: tuple[str, list[Path], list[str]]) -> None:
    with pytest.raises(RecipeError, match="--train_negatives"):
        enrollment_recipe(BaseModel.open(str(PRETRAINED / "wake-words")), *words[:2])
