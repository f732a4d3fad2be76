"""Features: frame counts, independence of padding, options, and saving."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from tests.models.noises import RATE, extract, noise

from hf_speech.models.feature_extraction_speech import SpeechFeatureExtractor

# --- Frames are countable ---------------------------------------------------------------------------------------------


def test_frame_count_is_samples_over_hop():
    rng = np.random.default_rng(1)
    samples = noise(40_000)
    types = itertools.cycle(["log_mel", "mfcc", "spectrogram", "waveform"])
    for feature_type in itertools.islice(types, 200):
        hop_length = int(rng.integers(1, 400))
        win_length = int(rng.integers(16, 500))
        length = int(rng.integers(hop_length, 60 * hop_length))
        extractor = SpeechFeatureExtractor(
            feature_type=feature_type, num_mel_bins=4, num_mfcc=3, hop_length=hop_length, win_length=win_length
        )
        output = extractor(samples[:length], sampling_rate=RATE)
        assert output["input_features"].shape == (1, length // hop_length, extractor.feature_size)
        assert output["attention_mask"].sum() == length // hop_length == extractor.num_frames(length)


def test_waveform_frames_are_the_samples():
    samples = noise(1001)
    frames = SpeechFeatureExtractor(feature_type="waveform", hop_length=100, normalization="none")
    np.testing.assert_array_equal(extract(frames, samples), samples[:1000].reshape(10, 100))
    single = SpeechFeatureExtractor(feature_type="waveform", hop_length=1, normalization="none")
    features = extract(single, samples)
    np.testing.assert_array_equal(features, samples[:, None])
    assert not np.shares_memory(features, samples)  # whoever masks features in place must not silence the sound


def test_frames_per_second():
    assert SpeechFeatureExtractor(sampling_rate=8000, hop_length=80).frames_per_second == 100


# --- Padding is invisible ---------------------------------------------------------------------------------------------


def all_kinds() -> Iterator[dict]:
    types = ["log_mel", "spectrogram", "mfcc", "waveform"]
    for feature_type, normalization in itertools.product(types, ["none", "utterance", "global", "peak"]):
        for num_deltas in (0, 1, 2):
            yield {"feature_type": feature_type, "normalization": normalization, "num_deltas": num_deltas}


@pytest.mark.parametrize("options", list(all_kinds()), ids=lambda options: "-".join(map(str, options.values())))
def test_features_do_not_depend_on_the_batch(options):
    extractor = SpeechFeatureExtractor(
        num_mel_bins=20, win_length=300, n_fft=512, log="db", top_db=50, preemphasis=0.9, **options
    )
    # One frame only; lengths that are no multiple of the hop; and silence, which normalization must not blow up.
    utterances = [noise(length, seed=length) for length in (5000, 177, 3333, 9000)] + [np.zeros(2500, np.float32)]
    if extractor.normalization == "global":
        extractor.fit_global_statistics(utterances)
    batch = extractor(utterances, sampling_rate=RATE)
    for utterance, features, mask in zip(utterances, batch["input_features"], batch["attention_mask"], strict=True):
        alone = extract(extractor, utterance)
        assert np.isfinite(alone).all()
        np.testing.assert_allclose(features[: len(alone)], alone, atol=1e-5)
        assert not features[len(alone) :].any()
        assert mask.tolist() == [1] * len(alone) + [0] * (len(mask) - len(alone))


# --- What goes in -----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")  # torch warns of read-only arrays, which ffmpeg_read of transformers gives
def test_lists_arrays_and_tensors_give_equal_features():
    extractor = SpeechFeatureExtractor(num_mel_bins=20)
    samples = noise(2000)
    expected = extract(extractor, samples)
    read_only = np.frombuffer(samples.tobytes(), np.float32)
    kinds = [
        samples.tolist(),
        tuple(samples.tolist()),
        torch.from_numpy(samples),
        samples.astype(np.float64),
        samples.astype(">f4"),
        read_only,
        samples[::-1].copy()[::-1],
    ]
    for kind in kinds:
        np.testing.assert_array_equal(extract(extractor, kind), expected)
    batches = [
        [samples, samples],
        [samples.tolist()] * 2,
        np.stack([samples] * 2),
        torch.from_numpy(np.stack([samples] * 2)),
    ]
    for batch in batches:
        features = extractor(batch, sampling_rate=RATE)["input_features"]
        assert features.shape[0] == 2
        np.testing.assert_array_equal(features[1], expected)
    ragged = np.empty(2, dtype=object)
    ragged[:] = [samples, samples[:1000]]
    assert extractor(ragged, sampling_rate=RATE)["attention_mask"].sum(1).tolist() == [12, 6]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32])
def test_integer_samples_equal_floats(dtype):
    extractor = SpeechFeatureExtractor(num_mel_bins=20, normalization="none")
    bits = np.dtype(dtype).itemsize * 8
    integers = np.round(noise(2000) * 2 ** (bits - 2)).astype(np.int64)
    floats = (integers / 2 ** (bits - 1)).astype(np.float32)
    given = (integers + (128 if dtype is np.uint8 else 0)).astype(dtype)
    np.testing.assert_allclose(extract(extractor, given), extract(extractor, floats), atol=1e-5)
    np.testing.assert_allclose(extract(extractor, torch.from_numpy(given)), extract(extractor, floats), atol=1e-5)
    big_endian = given.astype(given.dtype.newbyteorder(">"))
    np.testing.assert_allclose(extract(extractor, big_endian), extract(extractor, floats), atol=1e-5)


# --- What comes out ---------------------------------------------------------------------------------------------------


def test_return_types():
    extractor = SpeechFeatureExtractor(num_mel_bins=20)
    batch = [noise(2000), noise(1000)]
    torch_output = extractor(batch, sampling_rate=RATE)
    assert set(torch_output) == {"input_features", "attention_mask"}
    assert torch_output["input_features"].dtype == torch.float32
    assert torch_output["attention_mask"].dtype == torch.int64
    numpy_output = extractor(batch, sampling_rate=RATE, return_tensors="np")
    assert isinstance(numpy_output["input_features"], np.ndarray)
    np.testing.assert_array_equal(numpy_output["input_features"], torch_output["input_features"])
    lists = extractor(batch, sampling_rate=RATE, return_tensors=None, padding=False)
    assert [row.shape for row in lists["input_features"]] == [(12, 20), (6, 20)]
    assert [row.tolist() for row in lists["attention_mask"]] == [[1] * 12, [1] * 6]
    assert set(extractor(batch, sampling_rate=RATE, return_attention_mask=False)) == {"input_features"}
    silent = SpeechFeatureExtractor(num_mel_bins=20, return_attention_mask=False)
    assert set(silent(batch, sampling_rate=RATE)) == {"input_features"}
    assert set(silent(batch, sampling_rate=RATE, return_attention_mask=True)) == {"input_features", "attention_mask"}


def test_padding_and_truncation_follow_transformers():
    extractor = SpeechFeatureExtractor(num_mel_bins=20)
    batch = [noise(2000), noise(1000)]

    def frames(**options: object) -> tuple[int, list[int]]:
        output = extractor(batch, sampling_rate=RATE, **options)
        return output["input_features"].shape[1], output["attention_mask"].sum(1).tolist()

    assert frames() == (12, [12, 6])
    assert frames(padding="longest", pad_to_multiple_of=8) == (16, [12, 6])
    assert frames(padding="max_length", max_length=3200) == (20, [12, 6])
    assert frames(max_length=1280, truncation=True) == (8, [8, 6])
    assert frames(padding="max_length", max_length=1600, truncation=True) == (10, [10, 6])
    with pytest.raises(ValueError, match="return_tensors=None"):
        frames(padding=False)
    with pytest.raises(ValueError, match="needs max_length"):
        frames(truncation=True)


def test_max_duration_cuts_and_pads_to_a_fixed_number_of_frames():
    extractor = SpeechFeatureExtractor(num_mel_bins=20, max_duration=0.5, num_deltas=1)
    long, short = noise(RATE), noise(3000)
    output = extractor([long, short], sampling_rate=RATE)
    assert output["input_features"].shape == (2, 50, 40)
    assert output["attention_mask"].sum(1).tolist() == [50, 18]
    unlimited = SpeechFeatureExtractor(num_mel_bins=20, num_deltas=1)
    np.testing.assert_allclose(output["input_features"][0], extract(unlimited, long[: RATE // 2]), atol=1e-5)
    np.testing.assert_allclose(output["input_features"][1, :18], extract(unlimited, short), atol=1e-5)
    assert not output["input_features"][1, 18:].any()
    assert (extractor.num_frames(RATE), extractor.num_frames(3000)) == (50, 18)
    assert extractor(short, sampling_rate=RATE)["input_features"].shape == (1, 50, 40)


def test_time_average_is_the_mean_over_valid_frames():
    options = {"num_mel_bins": 20, "normalization": "none", "num_deltas": 1}
    averaged = SpeechFeatureExtractor(time_average=True, max_duration=0.2, **options)
    batch = [noise(2000), noise(1000)]
    output = averaged(batch, sampling_rate=RATE)
    assert output["input_features"].shape == (2, 1, 40)
    assert output["attention_mask"].tolist() == [[1], [1]]
    for samples, features in zip(batch, output["input_features"], strict=True):
        expected = extract(SpeechFeatureExtractor(**options), samples).mean(0)
        np.testing.assert_allclose(features[0], expected, atol=1e-5)
    assert averaged.num_frames(2000) == 1


def test_the_offset_is_removed_first():
    options = {"num_mel_bins": 20, "normalization": "utterance", "num_deltas": 1}
    late = SpeechFeatureExtractor(offset=0.1, max_duration=0.2, **options)
    long, short = noise(8000), noise(3000)
    output = late([long, short], sampling_rate=RATE)["input_features"]
    plain = SpeechFeatureExtractor(**options)
    np.testing.assert_allclose(output[0], extract(plain, long[1600:4800]), atol=1e-5)
    np.testing.assert_allclose(output[1, :8], extract(plain, short[1600:]), atol=1e-5)
    assert [late.num_frames(samples) for samples in (8000, 3000, 1000)] == [20, 8, 0]
    with pytest.raises(ValueError, match=r"has 100 samples after the first 0.1 s, less than one hop"):
        late(noise(1700), sampling_rate=RATE)


def test_attention_mask_of_a_clip_shorter_than_a_hop() -> None:
    """Needed by transformers' pipeline for the last chunk of a recording, which may be a single sample."""
    for normalization in ("none", "utterance", "peak"):
        extractor = SpeechFeatureExtractor(num_mel_bins=8, normalization=normalization)
        rng = np.random.default_rng(0)
        whole = rng.standard_normal(1600).astype(np.float32)
        for samples in (whole[:1], whole[:159], whole[:0]):
            given = extractor([samples, whole], sampling_rate=16_000, return_attention_mask=True)
            assert given["attention_mask"].tolist() == [[0] * 10, [1] * 10]
            assert not given["input_features"][0].any()
            alone = extractor(whole, sampling_rate=16_000)["input_features"][0]
            torch.testing.assert_close(given["input_features"][1], alone)
            single = extractor(samples, sampling_rate=16_000, return_attention_mask=True)
            assert single["attention_mask"].tolist() == [[0]]


# --- Saving -----------------------------------------------------------------------------------------------------------


def test_saves_numpy_options(tmp_path):
    numbers = {
        "sampling_rate": np.int64(8000),
        "num_mel_bins": np.int64(40),
        "hop_length": np.uint16(80),
        "num_deltas": np.int8(1),
        "preemphasis": np.float32(0.5),
        "feature_mean": [np.float32(1.5)] * 80,
    }
    extractor = SpeechFeatureExtractor(**numbers)
    assert json.loads(extractor.to_json_string())["feature_size"] == 80
    extractor.save_pretrained(tmp_path)
    loaded = SpeechFeatureExtractor.from_pretrained(tmp_path)
    assert loaded.to_dict() == extractor.to_dict()
    assert (loaded.sampling_rate, loaded.preemphasis, loaded.feature_mean) == (8000, 0.5, [1.5] * 80)


def test_features_support_training():
    features = SpeechFeatureExtractor(num_mel_bins=20)(noise(2000), sampling_rate=RATE)["input_features"]
    weight = torch.zeros(20, requires_grad=True)
    (features @ weight).sum().backward()  # tensors of inference mode would refuse
    assert weight.grad is not None


# --- Errors, one sentence each ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sound", "sentence"),
    [
        (np.zeros(159, np.float32), r"Utterance 0 has 159 samples, less than one hop \(160 samples, 10 ms\)"),
        (np.zeros(0, np.float32), "Utterance 0 has 0 samples"),
        ([noise(400), noise(100)], "Utterance 1 has 100 samples"),
        (np.array([0.1] * 200 + [np.nan], np.float32), "Utterance 0 has samples that are NaN, infinite"),
        ([noise(400), np.array([0.1] * 200 + [-np.inf], np.float32)], "Utterance 1 has samples that are NaN"),
        (np.array([np.inf, -np.inf] * 200, np.float32), "NaN, infinite"),
        (np.array([0.1] * 400 + [-1e20], np.float32), "Utterance 0 has samples that are .* absurdly large"),
        (
            np.zeros((16_000, 2), np.float32),
            r"shape \(16000, 2\) seems to be \(samples, channels\).*average the channels",
        ),
        (torch.zeros(400, 8), "average the channels"),
        (np.zeros((0, 16_000), np.float32), "empty batch has no utterance: give at least one"),
        (torch.zeros(0, 400), "empty batch"),
        (np.zeros((2, 2, 400), np.float32), r"shape \(2, 2, 400\).*average the channels"),
        (np.float32(1.0), r"shape \(\)|not float32"),
        ([np.zeros((2, 400), np.float32)], r"Utterance 0 has the shape \(2, 400\) and must be mono"),
        ([], "empty list"),
        ([0, 1, 2] * 200, "unknown full scale"),
        (np.zeros(400, bool), "must be numbers"),
        ({"array": noise(400)}, "not dict"),
        ([{"array": noise(400)}], "must be numbers"),
        ("speech.wav", "not str"),
    ],
)
def test_rejects_unusable_sound(sound, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        SpeechFeatureExtractor(num_mel_bins=20)(sound, sampling_rate=RATE)
    assert "\n" not in str(error.value)


def test_rejects_another_sampling_rate():
    with pytest.raises(ValueError, match=r"8000 Hz.*needs 16000 Hz"):
        SpeechFeatureExtractor()(noise(2000), sampling_rate=8000)


def test_warns_once_about_a_missing_sampling_rate(monkeypatch):
    from transformers.utils import logging

    warnings = []
    logging.get_logger("transformers").warning_once.cache_clear()
    monkeypatch.setattr("hf_speech.models.feature_options.logger.warning", lambda message, *_: warnings.append(message))
    extractor = SpeechFeatureExtractor(num_mel_bins=20)
    extractor(noise(2000))
    extractor(noise(2000))
    assert len(warnings) == 1
    assert "16000 Hz" in warnings[0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"feature_type": "mel"}, "feature_type='mel' is unknown: take one of .*'log_mel'"),
        ({"num_mels": 40}, "num_mels is no option.*did you mean num_mel_bins"),
        ({"hop_length": 0}, "hop_length=0 must be above 0"),
        ({"n_fft": 256}, "n_fft=256 must be even and at least win_length=400"),
        ({"n_fft": 401}, "n_fft=401 must be even"),
        ({"max_frequency": 9000}, "half the sampling rate, 8000 Hz"),
        ({"min_frequency": 5000, "max_frequency": 4000}, "in this order"),
        ({"feature_type": "mfcc", "num_mfcc": 90}, "num_mfcc=90 must be at most num_mel_bins=80"),
        ({"log": "none"}, "needs a logarithm"),
        ({"top_db": 80}, "needs log='db'"),
        ({"delta_window": 4}, "delta_window=4 must be odd"),
        ({"num_deltas": 3}, "num_deltas=3 is unknown"),
        ({"time_average": True}, "gives zeros only"),
        ({"max_duration": 0.001}, "less than one hop"),
        ({"offset": -0.1}, "offset=-0.1 must be at least 0"),
        ({"feature_mean": [0.0]}, "feature_mean has 1 numbers for 80 features"),
        ({"padding_value": 1.0}, "pads with zeros"),
        ({"sampling_rate": "16000"}, "sampling_rate='16000' must be a whole number"),
        ({"sampling_rate": 10**9}, "sampling_rate=1000000000 must be at most 768000"),
        ({"win_length": 400.5}, "win_length=400.5 must be a whole number"),
        ({"n_fft": 10**9}, "n_fft=1000000000 must be at most 16384"),
        ({"hop_length": True}, "hop_length=True must be a whole number"),
        ({"power": float("nan")}, "power=nan must be a finite number"),
        ({"preemphasis": [0.97]}, r"preemphasis=\[0.97\] must be a finite number"),
        ({"max_duration": 10**9}, "is too much to pad each utterance to"),
        ({"feature_std": ["1"] * 80}, "feature_std must be a list of finite numbers"),
        ({"feature_mean": [10**400] * 80}, "feature_mean must be a list of finite numbers"),
        ({"feature_mean": [float("nan")] * 80}, "feature_mean must be a list of finite numbers"),
        ({"feature_mean": 1.5}, "feature_mean must be a list of finite numbers"),
        ({"feature_std": dict.fromkeys(range(80), 1.0)}, "feature_std must be a list of finite numbers"),
    ],
)
def test_rejects_invalid_options(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        SpeechFeatureExtractor(**options)


# --- transformers' pipelines ------------------------------------------------------------------------------------------


def test_pipelines_can_batch_features():
    from transformers.pipelines.base import pad_collate_fn

    extractor = SpeechFeatureExtractor(num_mel_bins=20)
    batch = [noise(2000), noise(1000)]
    items = [dict(extractor(samples, sampling_rate=RATE, return_tensors="pt")) for samples in batch]
    collated = pad_collate_fn(None, extractor)(items)
    expected = extractor(batch, sampling_rate=RATE)
    for key in ("input_features", "attention_mask"):
        torch.testing.assert_close(collated[key], expected[key], atol=1e-5, rtol=0)
