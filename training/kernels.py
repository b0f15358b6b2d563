"""Matrix products and causal attention as they are fastest on a CPU: the plain arithmetic, with its own backward.

What is faster was seen on one x86 machine; ``python -m benchmarks.bench_training`` shows what it comes to on yours.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.autograd.function import once_differentiable

QUERIES = 64  # positions whose attention is worked out at once: what lies in their future is never computed

Mask = Callable[[torch.Size], torch.Tensor | None]  # from a shape to a dropout mask, or to None for no dropout


# ---------------------------------------------------------------- linear layers


class Linear(nn.Linear):
    """``nn.Linear``, for float32 on a CPU through oneDNN, which beats the matrix product that PyTorch chooses."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.device.type != "cpu" or x.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
            return super().forward(x)
        return _Linear.apply(x, self.weight, self.bias)


def _product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """x W^T + b."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _rows(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(-1, x.shape[-1]).contiguous()


class _Linear(torch.autograd.Function):
    """The product for the weights' gradient stays with PyTorch's choice, which is the faster one there."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        rows = _rows(x)
        ctx.save_for_backward(rows, weight)
        ctx.has_bias = bias is not None
        return _product(rows, weight, bias).view(*x.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        rows, weight = ctx.saved_tensors
        inner = _rows(gradient)
        for_x = _product(inner, weight.t()).view(*gradient.shape[:-1], weight.shape[1])
        return for_x, inner.t() @ rows, inner.sum(0) if ctx.has_bias else None


# ---------------------------------------------------------------- attention


def causal_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Mask) -> torch.Tensor:
    """softmax(Q K^T / sqrt(D) + future) V, in which dropout ``mask``s the weights: each (B, H, T, D), on the CPU.

    Where PyTorch's fused kernel for the CPU has no dropout, this has; and without dropout it is faster too.
    """
    flat = (x.flatten(0, 1).contiguous() for x in (query, key, value))
    return _CausalAttention.apply(*flat, mask).view(query.shape)


def _chunks(T: int) -> Iterator[tuple[slice, slice]]:
    """Positions that ask, ``QUERIES`` at a time, and the positions that they see."""
    for start in range(0, T, QUERIES):
        end = min(start + QUERIES, T)
        yield slice(start, end), slice(0, end)


class _CausalAttention(torch.autograd.Function):
    """Q, K and V are (N, T, D), with N batches times heads."""

    @staticmethod
    def forward(ctx, query, key, value, mask):
        query = query / math.sqrt(query.shape[-1])
        mixed = torch.empty_like(query)
        future = torch.full((QUERIES, QUERIES), -math.inf).triu_(1)
        masks, kept = [], []
        for asking, seen in _chunks(query.shape[1]):
            scores = torch.bmm(query[:, asking], key[:, seen].transpose(1, 2))
            n = scores.shape[1]
            scores[:, :, -n:] += future[:n, :n]
            weights = scores.softmax(-1)
            masks.append(mask(weights.shape))
            dropped = weights if masks[-1] is None else weights * masks[-1]
            torch.bmm(dropped, value[:, seen], out=mixed[:, asking])
            kept += [weights, dropped]
        ctx.save_for_backward(query, key, value, *kept)
        ctx.masks = masks
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        query, key, value, *kept = ctx.saved_tensors
        for_query, for_key, for_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        for chunk, (asking, seen) in enumerate(_chunks(query.shape[1])):
            weights, dropped, mask = *kept[2 * chunk : 2 * chunk + 2], ctx.masks[chunk]
            for_value[:, seen].baddbmm_(dropped.transpose(1, 2), gradient[:, asking])
            for_weights = torch.bmm(gradient[:, asking], value[:, seen].transpose(1, 2))
            if mask is not None:
                for_weights *= mask
            for_scores = torch._softmax_backward_data(for_weights, weights, -1, weights.dtype)
            torch.bmm(for_scores, key[:, seen], out=for_query[:, asking])
            for_key[:, seen].baddbmm_(for_scores.transpose(1, 2), query[:, asking])
        return for_query / math.sqrt(query.shape[-1]), for_key, for_value, None
