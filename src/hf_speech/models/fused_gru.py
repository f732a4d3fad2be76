"""A GRU layer whose training is faster on a CPU than autograd through its loop.

Autograd processes the operations of each step one by one, allocates memory for each, and accumulates a matrix of weight
gradients at every step. The backward pass here runs both directions in one loop, computes everything that does not
depend on the next step for all steps at once, and computes the weight gradients by one matrix multiplication at the
end. As with packed sequences, a step only computes the clips that are long enough, the longest first.

GRU: Cho et al. 2014, in the variant of cuDNN and `torch.nn.GRU`, which applies the reset gate after the recurrent
product.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward


class FusedGRU(torch.autograd.Function):
    """`D` independent GRUs of `H` units over the valid frames of padded clips, from zero states.

    The first reads forwards, a second one backwards. With gates ordered reset, update, new as in `torch.nn.GRU`:

        r, z = sigmoid(W_r x + b_r + U_r h), sigmoid(W_z x + b_z + U_z h)
        n = tanh(W_n x + b_n + r (U_n h + c))
        h = n + z (h - n)
    """

    @staticmethod
    def forward(
        context: Any,
        frames: torch.Tensor,
        lengths: torch.Tensor,
        input_weights: torch.Tensor,
        biases: torch.Tensor,
        weights: torch.Tensor,
        new_bias: torch.Tensor,
    ) -> torch.Tensor:
        """Runs the loop.

        Args:
            context: Stores the tensors for the backward pass.
            frames: `(batch, frames, features)`, in the dtype of the matrix products.
            lengths: Valid frames of each clip, `(batch,)`.
            input_weights: `W`, `(D, 3 H, features)`, in the dtype of the matrix products.
            biases: `b`, `(D, 3 H)`, float32.
            weights: `U`, `(D, 3 H, H)`, in the dtype of the matrix products.
            new_bias: `c`, `(D, H)`, float32.

        Returns:
            States `(batch, frames, D H)`, in the dtype of the frames; zero on padded frames.
        """
        batch, num_frames, features = frames.shape
        directions, _, size = weights.shape
        rows, sizes = _steps(lengths, num_frames, directions)
        packed = frames.reshape(-1, features).index_select(0, rows.flatten()).view(directions, -1, features)
        inputs = torch.baddbmm(biases[:, None].to(packed.dtype), packed, input_weights.mT)
        to_new = inputs[..., 2 * size :].to(biases.dtype, copy=True)
        inputs[..., 2 * size :] = new_bias[:, None]
        # float32 products are faster with a contiguous matrix, bfloat16 products with the transposed view.
        transposed = weights.mT.contiguous() if weights.dtype == biases.dtype else weights.mT
        # Saved for the backward pass of each step: the previous state in the dtype of the products, the reset and
        # update gates, the recurrent part of the new gate, and the new gate.
        before = weights.new_empty(directions, rows.shape[1], size)
        gates = inputs.to(biases.dtype)
        new, states = torch.empty_like(to_new), torch.empty_like(to_new)
        parts = (before, inputs, gates, gates[..., : 2 * size], *gates.split(size, -1), to_new, new, states)
        state = new.new_zeros(directions, batch, size)
        for step in zip(*(part.split(sizes, 1) for part in parts), strict=True):
            multiplied, to_gate, gate, sigmoids, reset, update, product, to_fresh, fresh, following = step
            state = state[:, : multiplied.shape[1]]
            multiplied.copy_(state)
            gate.copy_(torch.baddbmm(to_gate, multiplied, transposed))
            sigmoids.sigmoid_()
            torch.addcmul(to_fresh, reset, product, out=fresh).tanh_()
            state = torch.lerp(fresh, state, update, out=following)
        context.save_for_backward(input_weights, weights, packed, before, gates, new, rows)
        context.shape, context.sizes = frames.shape, sizes
        output = frames.new_zeros(batch, num_frames, directions * size)
        output.view(-1, size).index_add_(0, _columns(rows).flatten(), states.to(frames.dtype).flatten(0, 1))
        return output

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Computes the gradients of the inputs from that of the states, `(batch, frames, D H)`."""
        input_weights, weights, packed, before, gates, new, rows = context.saved_tensors
        size = weights.shape[2]
        sizes = context.sizes
        reset, update, product = gates.split(size, dim=-1)
        # Derivatives of a state with respect to the pre-activations of the reset, update and new gate.
        factors = torch.empty_like(gates).unflatten(2, (3, size))
        at_new = tanh_backward(1 - update, new)
        sigmoid_backward.grad_input(at_new * product, reset, grad_input=factors[:, :, 0])
        sigmoid_backward.grad_input(before - new, update, grad_input=factors[:, :, 1])
        torch.mul(at_new, reset, out=factors[:, :, 2])
        totals = gradient.reshape(-1, size).index_select(0, _columns(rows).flatten()).view(before.shape).to(gates.dtype)
        at_gates = torch.empty_like(factors, dtype=weights.dtype)
        parts = (totals, factors, update, at_gates, at_gates.flatten(2))
        steps = zip(*(part.split(sizes, 1) for part in parts), strict=True)
        carried = totals[:, :0]
        for total, factor, kept, at_gate, at_product in reversed(list(steps)):
            total[:, : carried.shape[1]].add_(carried)
            torch.mul(total[:, :, None], factor, out=at_gate)
            carried = torch.mul(total, kept).add_(torch.bmm(at_product, weights))
        at_sums = at_gates.flatten(2)
        at_weights = torch.bmm(at_sums.mT, before)
        at_new_bias = at_gates[:, :, 2].sum(dim=1, dtype=gates.dtype)
        # For the inputs, the gradient of the new gate is not multiplied by the reset gate.
        torch.mul(totals, at_new, out=at_gates[:, :, 2])
        at_input_weights = torch.bmm(at_sums.mT, packed)
        at_biases = at_sums.sum(dim=1, dtype=gates.dtype)
        at_frames = None
        if context.needs_input_grad[0]:
            at_frames = packed.new_zeros(context.shape)
            for row, at_input in zip(rows, torch.bmm(at_sums, input_weights), strict=True):
                at_frames.flatten(0, 1).index_add_(0, row, at_input)
        return at_frames, None, at_input_weights, at_biases, at_weights, at_new_bias


def _steps(lengths: torch.Tensor, num_frames: int, directions: int) -> tuple[torch.Tensor, list[int]]:
    """Returns the order in which the recurrences read the valid frames, the longest clips first in each step.

    Returns:
        Row indices into frames `(batch * frames, features)`, `(directions, valid frames)`, where the second direction
        reads each clip backwards; and the number of clips in each step.
    """
    order = lengths.argsort(descending=True, stable=True)
    steps = torch.arange(num_frames)[:, None]
    ends = lengths[order]
    valid = steps < ends
    starts = order * num_frames
    rows = torch.stack([(starts + step)[valid] for step in (steps, ends - 1 - steps)[:directions]])
    return rows, [size for size in valid.sum(dim=1).tolist() if size]


def _columns(rows: torch.Tensor) -> torch.Tensor:
    """Returns the row indices of each direction's states in `(batch * frames * directions, units)`."""
    return rows * len(rows) + torch.arange(len(rows))[:, None]


__all__ = ["FusedGRU"]
