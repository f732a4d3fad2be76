"""Training a GRU layer on a CPU, faster than autograd through its loop.

Autograd goes back through each step's operations one by one, allocates memory for each, and adds a whole matrix of
weight gradients at every step. Here the backward pass is written out: a step's small operations stay in the cache, both
directions share one loop, and the weight gradients are one matrix multiplication at the end.

GRU: Cho et al. 2014 in the variant of cuDNN and `torch.nn.GRU`, with the reset gate behind the recurrent product.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward


class FusedGRU(torch.autograd.Function):
    """`D` independent GRUs (directions) of `H` units over as many batches, from zero states.

    With gates ordered reset, update, new as in `torch.nn.GRU`:

        r, z = sigmoid(x_r + h W_r'), sigmoid(x_z + h W_z')
        n = tanh(x_n + r (h W_n' + b_n))
        h = (1 - z) n + z h
    """

    @staticmethod
    def forward(context: Any, inputs: torch.Tensor, weights: torch.Tensor, new_bias: torch.Tensor) -> torch.Tensor:
        """Runs the loop.

        Args:
            context: Keeps the tensors saved for the backward pass.
            inputs: What frames and all other biases contribute to the gates, `(D, frames, batch, 3 H)`, float32.
            weights: Recurrent weights, `(D, 3 H, H)`, in the type to multiply in.
            new_bias: Bias of the recurrent part of the new gate, `(D, H)`, float32.

        Returns:
            States `(D, frames, batch, H)`, float32.
        """
        directions, frames, batch, _ = inputs.shape
        size = weights.shape[2]
        # float32 is multiplied faster by a contiguous matrix, bfloat16 by the transposed view.
        transposed = weights.mT.contiguous() if weights.dtype == inputs.dtype else weights.mT
        bias = new_bias[:, None]
        # Saved for the backward pass, of each step: the state before it as it was multiplied, the reset and update
        # gates, the recurrent part of the new gate, the new gate.
        before = weights.new_zeros(directions, frames + 1, batch, size)
        gates = torch.empty_like(inputs)
        new = inputs.new_empty(directions, frames, batch, size)
        states = torch.empty_like(new)
        both, recurrent = gates[..., : 2 * size], gates[..., 2 * size :]
        steps = zip(
            before.unbind(1),
            gates.unbind(1),
            both.unbind(1),
            gates[..., :size].unbind(1),
            gates[..., size : 2 * size].unbind(1),
            recurrent.unbind(1),
            inputs[..., : 2 * size].unbind(1),
            inputs[..., 2 * size :].unbind(1),
            new.unbind(1),
            states.unbind(1),
            before.unbind(1)[1:],
            strict=False,
        )
        state = inputs.new_zeros(directions, batch, size)
        for multiplied, gate, sigmoids, reset, update, product, to_gates, to_new, fresh, following, kept in steps:
            gate.copy_(torch.bmm(multiplied, transposed))
            sigmoids.add_(to_gates).sigmoid_()
            product.add_(bias)
            torch.addcmul(to_new, reset, product, out=fresh).tanh_()
            state = torch.lerp(fresh, state, update, out=following)
            kept.copy_(state)
        context.save_for_backward(weights, before, gates, new, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Gradients of the three inputs, from that of the states, `(D, frames, batch, H)`."""
        weights, before, gates, new, states = context.saved_tensors
        size = weights.shape[2]
        # Of the sums in the gates, and of the recurrent products alone: they differ in the new gate.
        at_inputs = torch.empty_like(gates)
        at_products = torch.empty(gates.shape, dtype=weights.dtype)
        steps = list(
            zip(
                gradient.unbind(1),
                gates[..., :size].unbind(1),
                gates[..., size : 2 * size].unbind(1),
                gates[..., 2 * size :].unbind(1),
                new.unbind(1),
                [torch.zeros_like(states[:, 0]), *states.unbind(1)],
                at_inputs.unbind(1),
                at_products.unbind(1),
                strict=False,
            )
        )
        total, carried, part = (torch.zeros_like(states[:, 0]) for _ in range(3))
        for index in range(len(steps) - 1, -1, -1):
            from_above, reset, update, product, fresh, previous, at_input, at_product = steps[index]
            at_reset, at_update, at_new = at_input.split(size, dim=-1)
            torch.add(from_above, carried, out=total)
            torch.mul(total, update, out=carried)
            torch.sub(previous, fresh, out=part).mul_(total)
            sigmoid_backward.grad_input(part, update, grad_input=at_update)
            torch.sub(total, carried, out=part)
            tanh_backward.grad_input(part, fresh, grad_input=at_new)
            torch.mul(at_new, product, out=part)
            sigmoid_backward.grad_input(part, reset, grad_input=at_reset)
            at_product.copy_(at_input)
            at_product[..., 2 * size :] = torch.mul(at_new, reset, out=part)
            if index:
                carried.add_(torch.bmm(at_product, weights))
        rows = at_products.flatten(1, 2)
        at_weights = torch.bmm(rows.mT, before[:, :-1].flatten(1, 2))
        at_new_bias = rows[..., 2 * size :].sum(dim=1, dtype=gates.dtype)
        return at_inputs, at_weights, at_new_bias


__all__ = ["FusedGRU"]
