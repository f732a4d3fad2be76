from __future__ import annotations

import pytest
import torch

from hf_speech.models.fused_gru import FusedGRU
from hf_speech.models.recurrent import RecurrentLayer

LENGTHS = torch.tensor([7, 1, 12, 4])


def outputs_and_gradients(layer: RecurrentLayer, fused: bool) -> list[torch.Tensor]:
    """Returns the output of a layer and the gradients of a weighted sum of it with respect to all inputs."""
    layer.train(fused)
    layer.zero_grad()
    torch.manual_seed(1)
    frames = torch.randn(4, 12, 5, requires_grad=True)
    output = layer(frames, LENGTHS)
    (output * torch.randn(output.shape)).sum().backward()
    gradients = [parameter.grad for parameter in (frames, *layer.parameters())]
    return [output, *(gradient for gradient in gradients if gradient is not None)]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_equals_torch_in_forward_and_backward_pass(bidirectional: bool) -> None:
    torch.manual_seed(0)
    layer = RecurrentLayer("gru", 5, 6, bidirectional)
    for parameter in layer.parameters():  # The initial biases are zero, which would hide what they do.
        torch.nn.init.normal_(parameter, std=0.5)
    fused, plain = outputs_and_gradients(layer, True), outputs_and_gradients(layer, False)
    assert len(fused) == len(plain) == 2 + 4 * (1 + bidirectional)
    for ours, theirs in zip(fused, plain, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("directions", [1, 2])
def test_gradients_agree_with_finite_differences(directions: int) -> None:
    torch.manual_seed(0)
    shapes = ((3, 4, 2), (directions, 15, 2), (directions, 15), (directions, 15, 5), (directions, 5))
    frames, *weights = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    lengths = torch.tensor([2, 4, 0])

    def fused(*given: torch.Tensor) -> torch.Tensor:
        return FusedGRU.apply(given[0], lengths, *given[1:])

    assert torch.autograd.gradcheck(fused, (frames, *weights), atol=1e-5)


def test_padding_reaches_neither_outputs_nor_gradients() -> None:
    torch.manual_seed(0)
    layer = RecurrentLayer("gru", 5, 6, bidirectional=True).train()
    frames = torch.randn(4, 12, 5)
    padding = torch.arange(12) >= LENGTHS[:, None]
    results = []
    for value in (0.0, 1e6):
        given = frames.masked_fill(padding[:, :, None], value).requires_grad_()
        output = layer(given, LENGTHS)
        output.sum().backward()
        assert given.grad is not None
        assert not output[padding].any()
        assert not given.grad[padding].any()
        results.append((output, given.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_clips_without_frames_give_zeros() -> None:
    output = RecurrentLayer("gru", 5, 6, bidirectional=True).train()(torch.randn(2, 3, 5), torch.tensor([0, 0]))
    assert output.shape == (2, 3, 12)
    assert not output.any()


def test_the_fused_gru_is_used_only_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = RecurrentLayer("gru", 5, 6, bidirectional=True)
    calls: list[torch.dtype] = []
    apply = FusedGRU.apply
    monkeypatch.setattr(FusedGRU, "apply", lambda *given: calls.append(given[0].dtype) or apply(*given))
    frames = torch.randn(4, 12, 5)
    layer.eval()(frames, LENGTHS)
    with torch.no_grad():
        layer.train()(frames, LENGTHS)
    assert calls == []
    layer(frames, LENGTHS)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(frames, LENGTHS)
    assert calls == [torch.float32, torch.bfloat16]
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), layer(frames, LENGTHS), atol=0.05, rtol=0)
