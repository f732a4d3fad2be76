from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2CTCTokenizer

from hf_speech.models import ConvGRUConfig, ConvGRUForCTC, SpeechFeatureExtractor

RATE = 8000


def make_model(**arguments: Any) -> ConvGRUForCTC:
    torch.manual_seed(0)
    defaults: dict[str, Any] = {
        "input_size": 20,
        "hop_length": 80,
        "channels": 8,
        "hidden_size": 12,
        "num_hidden_layers": 2,
        "vocab_size": 6,
        "bidirectional": False,
        "causal": True,
    }
    model = ConvGRUForCTC(ConvGRUConfig(**(defaults | arguments)))
    for module in model.modules():  # As after training: the statistics of batch norm are not those of the start.
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def make_extractor(**arguments: Any) -> SpeechFeatureExtractor:
    defaults = {"sampling_rate": RATE, "num_mel_bins": 20, "hop_length": 80, "win_length": 200, "normalization": "none"}
    return SpeechFeatureExtractor(**(defaults | arguments))


@pytest.fixture
def tokenizer(tmp_path: Any) -> Wav2Vec2CTCTokenizer:
    path = tmp_path / "vocab.json"
    path.write_text('{"<pad>": 0, "|": 1, "<unk>": 2, "a": 3, "b": 4, "c": 5}')
    return Wav2Vec2CTCTokenizer(str(path), pad_token="<pad>", unk_token="<unk>", bos_token=None, eos_token=None)


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(round(seconds * RATE)) * 0.1 * np.sin(np.arange(round(seconds * RATE)) / 900)).astype(
        "f"
    )


@pytest.mark.parametrize("frontend", ["deepspeech2", "residual", "subsampling", "stem"])
@pytest.mark.parametrize(
    ("lookahead", "features"), [(3, {}), (0, {"preemphasis": 0.97, "n_fft": 256}), (1, {"win_length": 80})]
)
def test_logits_of_pieces_equal_those_of_the_recording(frontend: str, lookahead: int, features: dict[str, Any]) -> None:
    choice = {"stem_channels": 4} if frontend == "stem" else {"frontend": frontend}
    model = make_model(**choice, lookahead=lookahead, recurrent_norm="batch")
    extractor = make_extractor(**features)
    samples = sound(1.337)
    whole = model(**extractor(samples, sampling_rate=RATE, return_tensors="pt")).logits[0]
    assert whole.shape[0] == len(samples) // model.config.inputs_to_logits_ratio
    for seed, sizes in ((1, (300, 900)), (2, (700, 3000)), (3, (1, 3))):
        rng = np.random.default_rng(seed)
        stream = model.stream(extractor)
        pieces, position = [], 0
        end = len(samples) if sizes[1] > 3 else 700
        while position < end:
            size = int(rng.integers(*sizes))
            pieces.append(stream.accept(samples[position : min(position + size, end)], RATE).logits)
            position += size
        pieces.append(stream.finish().logits)
        if end < len(samples):
            whole = model(**extractor(samples[:end], sampling_rate=RATE, return_tensors="pt")).logits[0]
        torch.testing.assert_close(torch.cat(pieces), whole, atol=1e-4, rtol=0)


def test_the_text_grows_to_that_of_the_tokenizer(tokenizer: Wav2Vec2CTCTokenizer) -> None:
    model = make_model(lookahead=2)
    with torch.no_grad():
        model.classifier.weight.mul_(30)  # Untrained, the model would say one token for ever.
    extractor = make_extractor()
    samples = sound(4.0)
    stream = model.stream(extractor, tokenizer)
    texts = [stream.accept(samples[start : start + 800]).text for start in range(0, len(samples), 800)]
    final = stream.finish().text
    ids = model(**extractor(samples, sampling_rate=RATE, return_tensors="pt")).logits[0].argmax(-1)
    assert final == " ".join(tokenizer.decode(ids).split())
    assert len(final) > 5
    assert len(texts[len(texts) // 2]) < len(final)
    stream.reset()
    stream.accept(samples)
    assert stream.finish().text == final


class Script(torch.nn.Module):
    """A classifier that outputs the tokens of a path, independent of its input."""

    def __init__(self, path: list[int], vocab_size: int) -> None:
        super().__init__()
        self.logits = torch.nn.functional.one_hot(torch.tensor(path), vocab_size).float()
        self.said = 0

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        self.said += len(frames)
        return self.logits[self.said - len(frames) : self.said]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ([3, 2, 3, 2, 2, 0, 2, 4, 4], "a<unk>a<unk><unk>b"),
        ([1, 3, 1, 0, 1, 4, 0, 4, 1], "a bb"),
    ],
    ids=["unknown tokens", "spaces"],
)
def test_the_text_is_that_of_the_best_path(tokenizer: Wav2Vec2CTCTokenizer, path: list[int], text: str) -> None:
    model = make_model(lookahead=0)
    model.classifier = Script(path, 6)
    stream = model.stream(make_extractor(), tokenizer)
    for piece in np.array_split(sound(1.0)[: len(path) * model.config.inputs_to_logits_ratio], 4):
        so_far = stream.accept(piece).text
        assert text.startswith(so_far)
    assert stream.finish().text == text == " ".join(tokenizer.decode(path).split())
    assert model.classifier.said == len(path)


def test_memory_is_constant_and_latency_is_correct() -> None:
    model = make_model(lookahead=3)
    extractor = make_extractor()
    stream = model.stream(extractor)
    sizes = []
    for seconds in range(20):
        stream.accept(sound(1.0, seed=seconds))
        sizes.append(len(stream._samples) + stream._features.numel() + stream._awaiting.numel())
    assert max(sizes) == max(sizes[:4])

    # One sample before the latency of the first logit frame has passed, there is none; then there is one.
    needed = round(stream.latency * RATE)
    stream.reset()
    assert len(stream.accept(sound(1.0)[: needed - 1]).logits) == 0
    assert len(stream.accept(sound(1.0)[needed - 1 : needed]).logits) == 1


def test_handles_empty_and_very_short_input(tokenizer: Wav2Vec2CTCTokenizer) -> None:
    stream = make_model(lookahead=2).stream(make_extractor(), tokenizer)
    assert stream.finish().text == ""
    stream.reset()
    stream.accept(np.zeros(5))
    assert len(stream.finish().logits) == 0


@pytest.mark.parametrize(
    ("model", "features", "message"),
    [
        ({"bidirectional": True, "causal": False}, {}, "needs the whole recording"),
        ({"causal": False}, {}, "needs the whole recording"),
        ({}, {"normalization": "utterance"}, "normalization needs the whole recording"),
        ({}, {"max_duration": 1.0}, "without deltas"),
    ],
)
def test_error_for_models_that_cannot_stream(model: dict[str, Any], features: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_model(**model).stream(make_extractor(**features))


def test_rejects_wrong_pieces() -> None:
    stream = make_model().stream(make_extractor())
    with pytest.raises(ValueError, match="needs 8000 Hz"):
        stream.accept(np.zeros(10), sampling_rate=16_000)
    with pytest.raises(ValueError, match="must be mono"):
        stream.accept(np.zeros((2, 10)))
    with pytest.raises(ValueError, match="unknown full scale"):
        stream.accept(np.zeros(10, np.int64))


def test_a_rejected_piece_does_not_change_the_stream() -> None:
    samples = sound(1.0)
    model, extractor = make_model(), make_extractor()
    whole = model(**extractor(samples, sampling_rate=RATE, return_tensors="pt")).logits[0]
    stream = model.stream(extractor)
    pieces = [stream.accept(samples[:3000]).logits]
    for bad in (np.nan, np.inf, 1e20):
        with pytest.raises(ValueError, match="piece of sound has samples that are NaN, infinite or absurdly large"):
            stream.accept(np.array([0.1, bad, 0.1], np.float32))
    pieces += [stream.accept(samples[3000:]).logits, stream.finish().logits]
    torch.testing.assert_close(torch.cat(pieces), whole, atol=1e-4, rtol=0)


def test_scales_integers_like_the_extractor() -> None:
    samples = (sound(1.0) * 2**15).astype(np.int16)
    model, extractor = make_model(), make_extractor()
    whole = model(**extractor(samples, sampling_rate=RATE, return_tensors="pt")).logits[0]
    stream = model.stream(extractor)
    pieces = [stream.accept(samples[:3000]).logits, stream.accept(torch.from_numpy(samples[3000:])).logits]
    torch.testing.assert_close(torch.cat([*pieces, stream.finish().logits]), whole, atol=1e-4, rtol=0)


def test_rejects_input_after_the_end() -> None:
    stream = make_model().stream(make_extractor())
    stream.accept(sound(0.5))
    stream.finish()
    with pytest.raises(ValueError, match=r"ended by finish\(\): call reset\(\)"):
        stream.accept(sound(0.5))
    stream.reset()
    assert len(stream.accept(sound(0.5)).logits)


@pytest.mark.parametrize("lookahead", [0, 2])
def test_streams_in_half_precision(tokenizer: Wav2Vec2CTCTokenizer, lookahead: int) -> None:
    model = make_model(lookahead=lookahead).to(torch.bfloat16)
    extractor, samples = make_extractor(), sound(1.0)
    features = extractor(samples, sampling_rate=RATE, return_tensors="pt")["input_features"].to(torch.bfloat16)
    with torch.no_grad():
        whole = model(features).logits[0]
    stream = model.stream(extractor, tokenizer)
    pieces = [stream.accept(piece).logits for piece in np.array_split(samples, 7)]
    logits = torch.cat([*pieces, stream.finish().logits])
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits, whole, atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("hop", "window", "n_fft"),
    [
        (80, 80, None),
        (80, 160, None),
        (80, 161, None),
        (80, 240, 256),
        (50, 200, 512),
        (160, 100, None),
        (40, 333, None),
    ],
)
@pytest.mark.parametrize("preemphasis", [0.0, 0.97])
@pytest.mark.parametrize("window_type", ["hann", "hamming"])
def test_logits_of_pieces_equal_those_of_the_recording_for_every_window(
    hop: int, window: int, n_fft: int | None, preemphasis: float, window_type: str
) -> None:
    extractor = make_extractor(
        hop_length=hop, win_length=window, n_fft=n_fft, preemphasis=preemphasis, window_type=window_type
    )
    model = make_model(hop_length=hop, lookahead=1)
    samples = sound(0.6)
    stream = model.stream(extractor)
    pieces = [stream.accept(samples[start : start + 137]).logits for start in range(0, len(samples), 137)]
    whole = model(**extractor(samples, sampling_rate=RATE)).logits[0]
    torch.testing.assert_close(torch.cat([*pieces, stream.finish().logits]), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("features", "lookahead"),
    [
        ({}, 2),
        ({"hop_length": 160, "win_length": 200}, 1),
        ({"n_fft": 512}, 0),
        ({"win_length": 201, "hop_length": 50}, 1),
        ({"win_length": 60}, 0),
        ({"feature_type": "waveform"}, 0),
    ],
)
def test_latency_equals_the_measured_one(features: dict[str, Any], lookahead: int) -> None:
    extractor = make_extractor(**features)
    hop = extractor.hop_length
    model = make_model(input_size=extractor.feature_size, hop_length=hop, lookahead=lookahead, subsampling=2)
    stream, known, worst = model.stream(extractor), 0, 0
    for count, sample in enumerate(sound(0.15), start=1):
        for _ in range(len(stream.accept(np.array([sample])).logits)):
            worst = max(worst, count - known * model.config.inputs_to_logits_ratio)
            known += 1
    assert known > 1
    assert stream.latency == pytest.approx(worst / RATE, abs=1e-9)


@pytest.mark.parametrize("as_column", [lambda x: x[:, None], lambda x: torch.from_numpy(x[:, None])])
def test_accepts_mono_samples_in_columns(as_column: Any) -> None:
    model, samples = make_model(), sound(0.2)
    flat, column = model.stream(make_extractor()), model.stream(make_extractor())
    torch.testing.assert_close(flat.accept(samples).logits, column.accept(as_column(samples)).logits)
    with pytest.raises(ValueError, match="must be mono"):
        column.accept(np.zeros((100, 2), dtype=np.float32))
