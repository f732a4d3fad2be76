"""Batch norm that ignores padding, and rounding of frame counts."""

from __future__ import annotations

import copy

import pytest
import torch

from hf_speech.models import SpeechLSTMConfig, SpeechLSTMForAudioClassification
from hf_speech.models.convolutions import MaskedBatchNorm, convolve_frames

LENGTHS = torch.tensor([6, 4])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_running_statistics_ignore_values_that_are_not_finite(value: float) -> None:
    norm, frames = MaskedBatchNorm(3).train(), torch.randn(2, 6, 3)
    norm(frames, LENGTHS)
    before = copy.deepcopy(norm.state_dict())
    frames[0, 1, 2] = value
    norm(frames, LENGTHS)
    for key in ("norm.running_mean", "norm.running_var"):
        assert norm.state_dict()[key].isfinite().all()
        torch.testing.assert_close(norm.state_dict()[key][2], before[key][2])  # The channel that it was in.
        assert (norm.state_dict()[key][:2] != before[key][:2]).all()


def test_equals_batch_norm_of_torch_over_valid_frames() -> None:
    norm, plain = MaskedBatchNorm(3).train(), torch.nn.BatchNorm1d(3).train()
    frames = torch.randn(2, 6, 3)
    output = norm(frames, LENGTHS)
    valid = torch.cat((frames[0], frames[1, :4]))
    torch.testing.assert_close(torch.cat((output[0], output[1, :4])), plain(valid))
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(norm.norm.state_dict()[key], value)


def test_normalizes_a_single_value_by_running_statistics() -> None:
    norm = MaskedBatchNorm(3).train()
    norm.norm.running_mean.normal_()
    before, frame = copy.deepcopy(norm.state_dict()), torch.randn(1, 1, 3)
    output = norm(frame, torch.tensor([1]))
    torch.testing.assert_close(output, norm.eval()(frame, torch.tensor([1])))
    torch.testing.assert_close(norm.state_dict(), before)


@pytest.mark.parametrize("options", [{"stem_channels": [2, 3]}, {"stem_channels": [2], "subsampling": 2}])
def test_trains_on_a_last_batch_of_one_clip(options: dict[str, object]) -> None:
    model = SpeechLSTMForAudioClassification(SpeechLSTMConfig(input_size=8, hidden_size=4, **options)).train()
    loss = model(torch.randn(1, 1, 8), labels=torch.tensor([1])).loss
    loss.backward()
    assert loss.isfinite()


@pytest.mark.parametrize(("frames", "round_up", "expected"), [(7, False, 3), (7, True, 4), (8, False, 4), (8, True, 4)])
def test_rounds_up_incomplete_strides_if_requested(frames: int, round_up: bool, expected: int) -> None:
    convolution = torch.nn.Conv1d(2, 3, kernel_size=3, stride=2)
    x = torch.randn(1, frames, 2)
    output, lengths = convolve_frames(convolution, x, torch.tensor([frames]), round_up=round_up)
    assert output.shape == (1, expected, 3)
    assert lengths.tolist() == [expected]
    centered = torch.nn.functional.conv1d(x.mT, convolution.weight, convolution.bias, stride=2, padding=1).mT
    torch.testing.assert_close(output, centered[:, :expected])
