"""Recognizers from waveform to text, for every front end and direction, and for unusual sounds.

`test_modeling_conv_gru.py` tests the model alone; this file tests it with its feature extractor and tokenizer, in
transformers' pipeline, on the command line, and without this package.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutomaticSpeechRecognitionPipeline, pipeline

from hf_speech.cli.app import main
from hf_speech.decoding import align_text, greedy_decode
from hf_speech.errors import HFSpeechError
from hf_speech.inference import load_model, transcribe_files
from hf_speech.models import ConvGRUConfig, ConvGRUForCTC, SpeechFeatureExtractor
from hf_speech.tasks import TextOptions
from hf_speech.tasks.transcripts import build_tokenizer, encode_text

RATE = 8000
FRONT_ENDS: dict[str, dict[str, Any]] = {
    "deepspeech2": {"frontend": "deepspeech2", "recurrent_norm": "batch"},
    "residual": {"frontend": "residual"},
    "subsampling": {"frontend": "subsampling"},
    "subsampling 8": {"frontend": "subsampling", "subsampling": 8, "recurrent_norm": "batch"},
    "subsampling with a stem": {"frontend": "subsampling", "stem_channels": 4},
}
DIRECTIONS: dict[str, dict[str, Any]] = {
    "bidirectional": {},
    "forward": {"bidirectional": False, "lookahead": 3},
    "causal": {"bidirectional": False, "causal": True},
    "causal, lookahead": {"bidirectional": False, "causal": True, "lookahead": 4},
}
every_front_end = pytest.mark.parametrize("frontend", FRONT_ENDS)
every_direction = pytest.mark.parametrize("direction", DIRECTIONS)


def babble(num_samples: int, seed: int = 0) -> np.ndarray:
    """Returns a tone whose pitch and level change every 50 ms, and some noise."""
    rng = np.random.default_rng(seed)
    steps = rng.uniform((100, 0.01), (3500, 0.5), (num_samples // 400 + 1, 2))
    frequencies, levels = np.repeat(steps, 400, axis=0)[:num_samples].T
    tones = levels * np.sin(2 * np.pi * np.cumsum(frequencies) / RATE)
    return (tones + 0.01 * rng.standard_normal(num_samples)).astype(np.float32)


def make_recognizer(frontend: str, direction: str = "bidirectional") -> AutomaticSpeechRecognitionPipeline:
    """Returns a model with random weights and words of a, b and c, with its extractor and tokenizer."""
    torch.manual_seed(0)
    extractor = SpeechFeatureExtractor(sampling_rate=RATE, num_mel_bins=20, hop_length=80, win_length=200)
    tokenizer = build_tokenizer(["abc"], TextOptions("lower"))
    sizes = {"input_size": 20, "hop_length": 80, "channels": 8, "hidden_size": 12, "num_hidden_layers": 2}
    config = ConvGRUConfig(vocab_size=len(tokenizer), **(sizes | FRONT_ENDS[frontend] | DIRECTIONS[direction]))
    model = ConvGRUForCTC(config).eval()
    for module in model.modules():  # As after training: the statistics of batch norm are not those of the start.
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    # Random logits hardly differ from frame to frame; larger ones that are around zero make text.
    with torch.no_grad():
        model.classifier.weight *= 50
        model.classifier.bias -= model(**extractor(babble(16_000, 99), sampling_rate=RATE)).logits[0].mean(dim=0)
    return pipeline(
        "automatic-speech-recognition", model=model, feature_extractor=extractor, tokenizer=tokenizer, device="cpu"
    )


def given(samples: np.ndarray, rate: int = RATE) -> dict[str, Any]:
    """Returns the input of the pipeline, which empties it."""
    return {"raw": samples.copy(), "sampling_rate": rate}


@every_front_end
@every_direction
def test_logits_and_text_do_not_depend_on_the_batch(frontend: str, direction: str) -> None:
    recognizer = make_recognizer(frontend, direction)
    # One frame, one short of a logit frame, one logit frame, and a few that end anywhere.
    sounds = [babble(length, seed) for seed, length in enumerate((7999, 80, 12_345, 1279, 640, 16_003, 3333))]
    inputs = recognizer.feature_extractor(sounds, sampling_rate=RATE, return_tensors="pt")
    with torch.inference_mode():
        together = recognizer.model(**inputs).logits
        for sound, logits in zip(sounds, together, strict=True):
            alone = recognizer.model(**recognizer.feature_extractor(sound, sampling_rate=RATE)).logits[0]
            assert len(alone) == len(sound) // recognizer.model.config.inputs_to_logits_ratio
            # Of logits that were made fifty times as large.
            torch.testing.assert_close(logits[: len(alone)], alone, atol=5e-4, rtol=0)
            assert (logits[len(alone) :].argmax(-1) == 0).all()
    texts = [recognizer(given(sound))["text"] for sound in sounds]
    assert len(set(texts)) > 3  # Otherwise it could be a constant.
    for batch_size in (3, 7):
        batched = recognizer([given(sound) for sound in sounds], batch_size=batch_size)
        assert [result["text"] for result in batched] == texts


@every_front_end
def test_frame_count_is_samples_over_ratio_for_every_length(frontend: str) -> None:
    recognizer = make_recognizer(frontend)
    model, ratio = recognizer.model, recognizer.model.config.inputs_to_logits_ratio
    assert ratio == 80 * model.config.stride
    lengths = np.random.default_rng(0).integers(80, 3000, 200)
    for length in lengths.tolist():
        inputs = recognizer.feature_extractor(babble(length), sampling_rate=RATE)
        assert inputs["attention_mask"].sum() == length // 80
        with torch.inference_mode():
            logits = model(**inputs).logits
        assert logits.shape == (1, length // ratio, model.config.vocab_size), length
        assert model.num_logit_frames(inputs["attention_mask"].sum()) == length // ratio


@every_front_end
@every_direction
def test_padding_does_not_affect_gradients(frontend: str, direction: str) -> None:
    model = make_recognizer(frontend, direction).model
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.train()
    labels = torch.tensor([[3, 4, 1, 5], [5, 5, -100, -100]])
    torch.manual_seed(1)
    clips = torch.randn(2, 70, 20)
    gradients = []
    for num_frames, filling in ((70, 0.0), (70, 1e3), (101, -5.0)):
        features = torch.full((2, num_frames, 20), filling)
        features[0, :70], features[1, :40] = clips[0], clips[1, :40]
        mask = torch.zeros(2, num_frames, dtype=torch.long)
        mask[0, :70], mask[1, :40] = 1, 1
        features.requires_grad_()
        model.zero_grad()
        model(features, mask, labels).loss.backward()
        assert (features.grad[mask == 0] == 0).all()
        assert (features.grad[mask == 1] != 0).any()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for others in gradients[1:]:
        for first, other in zip(gradients[0], others, strict=True):
            torch.testing.assert_close(other, first, atol=1e-4 * max(1, float(first.abs().max())), rtol=0)


@every_front_end
@every_direction
@pytest.mark.parametrize("how", ["autocast", "all of it"])
def test_loss_and_gradients_are_finite_in_bfloat16(frontend: str, direction: str, how: str) -> None:
    model = make_recognizer(frontend, direction).model.train()
    features, mask = torch.randn(3, 90, 20) * 5, torch.ones(3, 90, dtype=torch.long)
    mask[1, 50:] = 0
    # One that fits, one longer than its sound, one that is empty.
    labels = torch.full((3, 60), -100)
    labels[0, :4], labels[1] = torch.tensor([3, 4, 4, 5]), 3
    if how == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(features, mask, labels).loss
    else:
        model = model.bfloat16()
        loss = model(features.bfloat16(), mask, labels).loss
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert loss > 0
    loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)


@every_front_end
@every_direction
def test_unlearnable_transcripts_do_not_affect_others(frontend: str, direction: str) -> None:
    """One longer than its sound, an empty one, and one of unknown characters, beside a good one and alone."""
    recognizer = make_recognizer(frontend, direction)
    model, tokenizer = recognizer.model.train(), recognizer.tokenizer
    texts = {"good": "ab c", "long": "abc " * 30, "empty": "", "unseen": "aéß"}
    ids = {name: encode_text(text, tokenizer) for name, text in texts.items()}
    assert ids["unseen"] == [ids["good"][0], tokenizer.unk_token_id, tokenizer.unk_token_id]
    inputs = recognizer.feature_extractor([babble(6000, seed) for seed in range(4)], sampling_rate=RATE)
    labels = [torch.tensor(value, dtype=torch.long) for value in ids.values()]
    padded = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100)
    model(**inputs, labels=padded).loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    for row, name in enumerate(texts):
        one = {key: value[row : row + 1] for key, value in inputs.items()}
        loss = model(**one, labels=labels[row][None]).loss
        assert torch.isfinite(loss)
        # What cannot be aligned counts nothing; the other three are probabilities.
        assert (loss == 0) == (name == "long")


def test_one_sentence_error_for_texts_that_cannot_be_aligned(beeps_run: Path, make_beeps: Any) -> None:
    loaded = load_model(beeps_run)
    with torch.inference_mode():
        inputs = loaded.feature_extractor(make_beeps("ab c"), sampling_rate=RATE)
        log_probs = loaded.model(**inputs).logits[0].log_softmax(-1)
    tokens = loaded.tokens
    for text, message in (("abc " * 30, "needs .* frames, but the recording has"), ("aé", r"not among .*\(é\)")):
        with pytest.raises(HFSpeechError, match=message):
            align_text(log_probs, text, tokens, seconds_per_frame=0.04)
    assert align_text(log_probs, "", tokens, seconds_per_frame=0.04).words == ()


def test_unusual_transcripts_count_as_errors(
    beeps_run: Path, tmp_path: Path, make_beeps: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sentences that the model cannot get right are not left out of a test split."""
    rows = {"good": "ab c", "long": "abc " * 30, "unseen": "ab é"}
    for name in rows:
        soundfile.write(tmp_path / f"{name}.wav", make_beeps("ab c"), RATE)
    table = "".join(f"{name}.wav,{text.strip()},test\n" for name, text in rows.items())
    (tmp_path / "table.csv").write_text("path,text,split\n" + table, encoding="utf-8")
    words = ["--data_dir", str(tmp_path), "--train_file", str(tmp_path / "table.csv")]
    with pytest.raises(SystemExit) as exit_:
        main(["evaluate", str(beeps_run), *words, "--output", str(tmp_path / "report.json")])
    printed = capsys.readouterr()
    assert exit_.value.code in (0, None), printed.err
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["num_utterances"] == 3
    # Of "abc" thirty times two words are heard and none is right; of "ab é" one is wrong.
    assert report["errors"]["words"]["total"] == 2 + 30 + 2
    assert report["metrics"]["wer"] == pytest.approx((0 + 30 + 1) / 34)


SOUNDS = {
    "silence": np.zeros(RATE, dtype=np.float32),
    "faint noise": babble(RATE) * 1e-4,
    "noise": np.random.default_rng(0).uniform(-1, 1, 2 * RATE).astype(np.float32),
    "direct current": np.full(RATE, 0.7, dtype=np.float32),
    "one click": np.eye(1, RATE, 4000, dtype=np.float32)[0],
    "one frame": babble(80),
    "a sample short of a logit": babble(319),
    "one logit": babble(320),
    "half a minute of silence": np.zeros(30 * RATE, dtype=np.float32),
}


@every_front_end
@every_direction
def test_returns_text_for_sounds_without_speech(frontend: str, direction: str) -> None:
    recognizer = make_recognizer(frontend, direction)
    tokens = recognizer.tokenizer.convert_ids_to_tokens(range(recognizer.model.config.vocab_size))
    for name, sound in itertools.islice(SOUNDS.items(), 8):
        with torch.inference_mode():
            logits = recognizer.model(**recognizer.feature_extractor(sound, sampling_rate=RATE)).logits[0]
        assert torch.isfinite(logits).all(), name
        ours = greedy_decode(logits.log_softmax(-1), tokens, seconds_per_frame=0.04)
        theirs = recognizer(given(sound), return_timestamps="word")
        assert " ".join(theirs["text"].split()) == ours.text, name
    together = recognizer([given(sound) for sound in SOUNDS.values()], batch_size=4)
    assert all(isinstance(result["text"], str) for result in together)


@pytest.mark.parametrize("words", [[], ["--nbest", "3"]], ids=["greedy", "beam search"])
def test_command_line_handles_sounds_without_speech(
    beeps_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    files = []
    for name, sound in {**SOUNDS, "less than a frame": babble(7)}.items():
        files.append(str(tmp_path / f"{name}.wav"))
        soundfile.write(files[-1], sound, RATE)
    for output_format in ("text", "json"):
        with pytest.raises(SystemExit) as exit_:
            main(["transcribe", str(beeps_run), *files, "--format", output_format, *words])
        printed = capsys.readouterr()
        assert exit_.value.code in (0, None), printed.err
        assert "error" not in printed.err
        if output_format == "text":
            assert all(f"{file}: " in printed.out for file in files)
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), RATE)
    with pytest.raises(SystemExit) as exit_:
        main(["transcribe", str(beeps_run), str(tmp_path / "nothing.wav"), *words])
    assert exit_.value.code == 1
    assert "nothing.wav holds no samples" in capsys.readouterr().err


def test_word_times_of_the_pipeline_agree_with_forced_alignment(beeps_run: Path, make_beeps: Any) -> None:
    loaded = load_model(beeps_run)
    recognize = pipeline("automatic-speech-recognition", model=str(beeps_run), device="cpu")
    frame = loaded.model.config.inputs_to_logits_ratio / RATE
    assert frame == 0.04
    for seed, text in enumerate(("cc bb abc", "a", "ab c", "bca a b cab", "b b b b")):
        samples = make_beeps(text, seed=seed)
        chunks = recognize(given(samples), return_timestamps="word")["chunks"]
        with torch.inference_mode():
            log_probs = loaded.model(**loaded.feature_extractor(samples, sampling_rate=RATE)).logits[0].log_softmax(-1)
        aligned = align_text(log_probs, text, loaded.tokens, seconds_per_frame=frame)
        assert [chunk["text"] for chunk in chunks] == text.split()
        for chunk, word in zip(chunks, aligned.words, strict=True):
            assert chunk["timestamp"][0] == pytest.approx(word.start, abs=frame + 1e-6)
            assert chunk["timestamp"][1] == pytest.approx(word.end, abs=frame + 1e-6)
        # And the words are where the tones are: CTC is free to be late, by the lookahead at most.
        assert aligned.words[0].start == pytest.approx(0.1, abs=0.16)


@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_stereo_and_other_sampling_rates_give_the_same_text(
    beeps_run: Path, tmp_path: Path, make_beeps: Any, rate: int, channels: int
) -> None:
    text = "cab b ac"
    mono = make_beeps(text, rate)
    # What is said lies in one channel, its double in the mean.
    sound = mono[:, None] if channels == 1 else np.stack((2 * mono, np.zeros_like(mono)), axis=1)
    soundfile.write(tmp_path / "clip.flac", sound, rate)
    (transcript,) = transcribe_files(load_model(beeps_run), [tmp_path / "clip.flac"], progress=False)
    assert transcript.hypothesis.text == text
    recognize = pipeline("automatic-speech-recognition", model=str(beeps_run), device="cpu")
    assert recognize(given(sound[:, 0] if channels == 1 else sound.T, rate))["text"] == text


STRANGER = """
import json, sys
sys.modules["hf_speech"] = None  # From here on, importing it raises ImportError.
import soundfile, torch
from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer, pipeline

sound, folders = sys.argv[1], sys.argv[2:]
samples, rate = soundfile.read(sound, dtype="float32")
results = []
for folder in folders:
    recognize = pipeline("automatic-speech-recognition", model=folder, trust_remote_code=True, device="cpu")
    result = recognize({"raw": samples.copy(), "sampling_rate": rate}, return_timestamps="word")
    model = AutoModelForCTC.from_pretrained(folder, trust_remote_code=True)
    extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=True)
    with torch.inference_mode():
        logits = model(**extractor(samples, sampling_rate=rate, return_tensors="pt")).logits[0]
    live = None
    if model.can_stream and extractor.normalization == "none":
        stream = model.stream(extractor, AutoTokenizer.from_pretrained(folder, trust_remote_code=True))
        for start in range(0, len(samples), 777):
            stream.accept(samples[start : start + 777])
        live = stream.finish().text
    results.append(
        {"result": result, "live": live, "logits": logits.tolist(), "module": type(model).__module__.split(".")[0]}
    )
print(json.dumps(results))
"""


def test_a_saved_folder_transcribes_without_the_package(beeps_run: Path, tmp_path: Path, make_beeps: Any) -> None:
    folders = [beeps_run]
    for frontend, direction in (("deepspeech2", "bidirectional"), ("residual", "forward"), ("residual", "causal")):
        recognizer = make_recognizer(frontend, direction)
        folders.append(tmp_path / f"{frontend}-{direction}")
        for part in (recognizer.model, recognizer.feature_extractor, recognizer.tokenizer):
            part.save_pretrained(folders[-1])
    soundfile.write(tmp_path / "clip.wav", make_beeps("abc b ca"), RATE, subtype="FLOAT")
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    command = [sys.executable, "-c", STRANGER, str(tmp_path / "clip.wav"), *map(str, folders)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr[-2000:]
    answers = json.loads(finished.stdout.splitlines()[-1])
    for folder, answer in zip(folders, answers, strict=True):
        assert answer["module"] == "transformers_modules"
        loaded = load_model(folder, device="cpu")
        with torch.inference_mode():
            inputs = loaded.feature_extractor(make_beeps("abc b ca"), sampling_rate=RATE)
            logits = loaded.model(**inputs).logits[0]
        torch.testing.assert_close(torch.tensor(answer["logits"]), logits, atol=1e-5, rtol=1e-5)
        text = greedy_decode(logits.log_softmax(-1), loaded.tokens, seconds_per_frame=0.04).text
        assert " ".join(answer["result"]["text"].split()) == text
    assert answers[0]["result"]["text"] == answers[0]["live"] == "abc b ca"
    assert [chunk["text"] for chunk in answers[0]["result"]["chunks"]] == ["abc", "b", "ca"]
