from __future__ import annotations

import pytest
import torch
from torch import nn

from hf_speech.models.recurrent import (
    Dropout,
    RecurrentLayer,
    frame_mask,
    initialize_recurrence,
    reverse_by_length,
    valid_lengths,
)

LENGTHS = torch.tensor([7, 1, 12, 4])


def packed_reference(layer: RecurrentLayer, cell: str, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Returns the output of torch's bidirectional module on a packed sequence."""
    bidirectional = layer.backward_rnn is not None
    reference = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](
        frames.shape[2], layer.hidden_size, batch_first=True, bidirectional=bidirectional
    )
    with torch.no_grad():
        for name, parameter in layer.forward_rnn.named_parameters():
            getattr(reference, name).copy_(parameter)
        if layer.backward_rnn is not None:
            for name, parameter in layer.backward_rnn.named_parameters():
                getattr(reference, f"{name}_reverse").copy_(parameter)
    packed = nn.utils.rnn.pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
    output, _ = nn.utils.rnn.pad_packed_sequence(reference(packed)[0], batch_first=True)
    return output


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_equals_packed_sequences(cell: str, bidirectional: bool) -> None:
    torch.manual_seed(0)
    layer = RecurrentLayer(cell, 5, 6, bidirectional)
    frames = torch.randn(4, 12, 5)
    output = layer(frames, LENGTHS)
    assert output.shape == (4, 12, layer.output_size)
    torch.testing.assert_close(output, packed_reference(layer, cell, frames, LENGTHS), atol=1e-6, rtol=0)


def test_padding_has_no_influence_and_no_gradient() -> None:
    torch.manual_seed(0)
    layer = RecurrentLayer("lstm", 5, 6, bidirectional=True)
    frames = torch.randn(4, 12, 5)
    other = torch.where(frame_mask(LENGTHS, 12)[:, :, None], frames, torch.full_like(frames, 1e3))
    other.requires_grad_()
    torch.testing.assert_close(layer(other, LENGTHS), layer(frames, LENGTHS))
    layer(other, LENGTHS).square().sum().backward()
    assert other.grad is not None
    assert other.grad[~frame_mask(LENGTHS, 12)].abs().max() == 0
    assert other.grad[frame_mask(LENGTHS, 12)].abs().min() > 0


def test_reverse_by_length_reverses_valid_frames_only() -> None:
    frames = torch.arange(10.0).reshape(2, 5, 1)
    reversed_frames = reverse_by_length(frames, torch.tensor([3, 5]))
    assert reversed_frames[:, :, 0].tolist() == [[2, 1, 0, 3, 4], [9, 8, 7, 6, 5]]
    torch.testing.assert_close(reverse_by_length(reversed_frames, torch.tensor([3, 5])), frames)


def test_valid_lengths() -> None:
    features = torch.zeros(2, 4, 3)
    assert valid_lengths(features, None, 3).tolist() == [4, 4]
    assert valid_lengths(features, torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]]), 3).tolist() == [2, 4]
    with pytest.raises(ValueError, match="attention_mask has the shape"):
        valid_lengths(features, torch.ones(2, 5), 3)
    with pytest.raises(ValueError, match="use the feature extractor saved with the model"):
        valid_lengths(features, None, 4)


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
def test_initialization_is_orthogonal_and_keeps_loaded_weights(cell: type[nn.LSTM] | type[nn.GRU]) -> None:
    torch.manual_seed(0)
    rnn = cell(5, 8)
    rnn.weight_ih_l0._is_hf_initialized = True  # type: ignore[attr-defined]
    loaded = rnn.weight_ih_l0.clone()
    initialize_recurrence(rnn)
    torch.testing.assert_close(rnn.weight_ih_l0, loaded)
    for gate in rnn.weight_hh_l0.split(8):
        torch.testing.assert_close(gate @ gate.T, torch.eye(8), atol=1e-5, rtol=0)
    forget = rnn.bias_ih_l0[8:16]
    assert forget.tolist() == [1.0 if cell is nn.LSTM else 0.0] * 8
    assert rnn.bias_ih_l0[:8].abs().max() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(share: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    frames = torch.ones(7, 33, 401, dtype=dtype, requires_grad=True)
    output = Dropout(share)(frames)
    output.sum().backward()
    dropped = output == 0
    assert float(dropped.float().mean()) == pytest.approx(share, abs=0.005)
    assert float(output.detach()[~dropped].float().mean()) == pytest.approx(1 / (1 - share), rel=0.01)
    assert frames.grad is not None
    assert torch.equal(frames.grad, output)
    # Neighbors, which share a random number, are dropped independently of each other.
    assert float((dropped[..., 1:] & dropped[..., :-1]).float().mean()) == pytest.approx(share**2, abs=0.005)


def test_dropout_depends_on_the_seed_and_is_off_in_evaluation() -> None:
    dropout, frames = Dropout(0.3), torch.randn(5, 10)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(dropout(frames))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(dropout.eval()(frames), frames)
    assert torch.equal(Dropout(0.0)(frames), frames)
    assert not Dropout(1.0)(frames).any()
