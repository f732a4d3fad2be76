from __future__ import annotations

import pytest
import torch

from hf_speech.models.configuration_speech_lstm import SpeechLSTMConfig
from hf_speech.models.recurrent import frame_mask
from hf_speech.models.spec_augment import spec_augment, spec_augment_by_config, warp_frequencies

LENGTHS = torch.tensor([40, 100, 3])


def features() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(3, 100, 20) * frame_mask(LENGTHS, 100)[:, :, None]


def test_does_nothing_without_masks() -> None:
    torch.testing.assert_close(spec_augment(features(), LENGTHS), features())


def test_time_masks_stay_inside_valid_frames_and_the_ratio() -> None:
    original = features()
    widest = 0
    for seed in range(50):
        torch.manual_seed(seed)
        changed = (spec_augment(original, LENGTHS, num_time_masks=1, time_mask_width=30) != original).any(dim=2)
        assert not changed[~frame_mask(LENGTHS, 100)].any()
        counts = changed.sum(dim=1)
        assert (counts <= (LENGTHS * 0.2).floor()).all()
        widest = max(widest, int(counts[1]))
    assert widest > 10


def test_frequency_masks_are_bands_of_the_clips_mean() -> None:
    original = features()
    torch.manual_seed(1)
    masked = spec_augment(original, LENGTHS, num_frequency_masks=1, frequency_mask_width=8)
    changed = (masked != original).any(dim=1)
    for clip in range(3):
        bins = changed[clip].nonzero().flatten()
        assert len(bins) <= 8
        assert len(bins) == 0 or bins.tolist() == list(range(int(bins[0]), int(bins[-1]) + 1))
    clip = int(changed.sum(dim=1).argmax())
    band = int(changed[clip].nonzero()[0])
    valid = int(LENGTHS[clip])
    expected = original[clip, :valid, band].mean().expand(valid)
    torch.testing.assert_close(masked[clip, :valid, band], expected)
    assert masked[clip, valid:].abs().sum() == 0


def test_clips_of_a_batch_get_different_masks() -> None:
    torch.manual_seed(2)
    original = torch.randn(8, 50, 20)
    lengths = torch.full((8,), 50)
    masked = spec_augment(original, lengths, num_frequency_masks=2, frequency_mask_width=8)
    patterns = {tuple((masked[clip] != original[clip]).any(dim=0).tolist()) for clip in range(8)}
    assert len(patterns) > 4


def test_warped_frequencies_move_a_peak_by_one_factor() -> None:
    torch.manual_seed(0)
    ramp = torch.arange(80.0).expand(64, 5, 80)  # Each feature says its own place.
    warped = warp_frequencies(ramp, 0.2)
    factors = warped[:, 0, 10] / 10
    assert (factors.min(), factors.max()) == (pytest.approx(0.8, abs=0.03), pytest.approx(1.2, abs=0.03))
    expected = (torch.arange(80.0) * factors[:, None]).clamp(max=79)[:, None].expand(-1, 5, -1)
    torch.testing.assert_close(warped, expected, atol=1e-3, rtol=0)


def test_deltas_are_masked_and_warped_like_their_features() -> None:
    original = features()
    twice = torch.cat((original, -original), dim=2)
    masked = spec_augment(twice, LENGTHS, num_frequency_masks=2, frequency_mask_width=8, num_maps=2)
    assert (masked != twice).any()
    torch.testing.assert_close(masked[:, :, 20:], -masked[:, :, :20])
    warped = warp_frequencies(twice, 0.2, num_maps=2)
    assert (warped != twice).any()
    torch.testing.assert_close(warped[:, :, 20:], -warped[:, :, :20])


def test_the_configuration_has_the_number_of_feature_maps() -> None:
    config = SpeechLSTMConfig(input_size=40, num_deltas=1, num_frequency_masks=2, frequency_mask_width=8)
    masked = spec_augment_by_config(torch.cat((features(), -features()), dim=2), LENGTHS, config)
    torch.testing.assert_close(masked[:, :, 20:], -masked[:, :, :20])


def test_warping_leaves_padded_frames_zero() -> None:
    assert warp_frequencies(features(), 0.2)[~frame_mask(LENGTHS, 100)].abs().max() == 0
