"""Matrix products and causal attention as they are fastest on a CPU: the plain arithmetic, with its own backward.

Inside ``torch.autocast`` products are of bfloat16 numbers and give such, with sums in float32; softmax stays in
float32, and so do the gradients of weights once they are computed.

What is faster was measured on one x86 machine; ``python -m benchmarks.bench_training`` measures it on yours.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.attention import SDPBackend, sdpa_kernel

QUERIES = 64  # positions whose attention is computed at once

Mask = Callable[[torch.Size], torch.Tensor | None]  # from a shape to a dropout mask, or to None for no dropout


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Inside, a model that does not train runs on plain kernels, through whose gradients one can differentiate again.

    Those of this module, fused attention, and the LSTMs of oneDNN and cuDNN have a first derivative only.
    """
    with switched_off(torch.backends.mkldnn, torch.backends.cudnn), sdpa_kernel(SDPBackend.MATH):
        yield


@contextmanager
def switched_off(*libraries: Any) -> Iterator[None]:
    """Inside, PyTorch does without ``libraries``, of ``torch.backends`` (modules with properties)."""
    before = [library.enabled for library in libraries]
    try:
        for library in libraries:
            library.enabled = False
        yield
    finally:
        for library, enabled in zip(libraries, before, strict=True):
            library.enabled = enabled


@contextmanager
def bfloat16_products(device: str) -> Iterator[None]:
    """Inside, a model that trains multiplies in bfloat16, by ``torch.autocast``.

    On a CPU for which oneDNN has no such products it is left out, since PyTorch hands it LSTMs that it then refuses.
    """
    onednn = torch.backends.mkldnn
    fit = device != "cpu" or (onednn.is_available() and _has_products(torch.bfloat16))
    with torch.autocast(device, torch.bfloat16), switched_off(*(() if fit else (onednn,))):
        yield


# ---------------------------------------------------------------- linear layers


class Linear(nn.Linear):
    """``nn.Linear``, on a CPU through oneDNN, which beats the matrix product that PyTorch chooses.

    That is for float32 weights; x may be bfloat16 where products are (see above).
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        onednn = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
        dtype = product_type()
        if x.device.type != "cpu" or self.weight.dtype != torch.float32 or not onednn:
            return super().forward(x)
        if x.dtype not in (torch.float32, dtype) or not _has_products(dtype):
            return super().forward(x)
        return _Linear.apply(x, self.weight, self.bias, dtype)


def product_type() -> torch.dtype:
    """The type of the numbers that are multiplied on the CPU here: what ``torch.autocast`` says, or float32."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32


def _has_products(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies numbers of this type on this processor."""
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """x W^T + b: (R, C) and (C', C) -> (R, C'), in the type of x and W."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _rows(x: torch.Tensor) -> torch.Tensor:
    """(..., C) -> (R, C), with R the product of the other axes."""
    return x.reshape(-1, x.shape[-1]).contiguous()


class _Linear(torch.autograd.Function):
    """y = x W^T + b; with the loss's gradient G by y, those by x, W and b are G W, G^T x and the sum of G's rows.

    Forward and G W have many rows (R = B T, 4,096 at CPU scale) and a short inner axis (C, a few hundred), the shape
    for which oneDNN's kernels are the faster ones. G^T x is the other way round: a small (C', C) result, summed over
    the long axis R. There PyTorch's own choice (BLAS) is faster, so that product stays with it.

    Products are of numbers of type ``dtype``, and so is y; autograd gives the gradients the types of x, W and b.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, dtype):
        rows, weight = _rows(x).to(dtype), weight.to(dtype)
        ctx.save_for_backward(rows, weight)
        ctx.has_bias = bias is not None
        return _product(rows, weight, bias).view(*x.shape[:-1], len(weight))  # (R, C') -> (..., C')

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        rows, weight = ctx.saved_tensors
        inner = _rows(gradient)  # (R, C'), made contiguous: the gradient of a sum, for one, has strides of 0
        for_x = _product(inner, weight.t()).view(*gradient.shape[:-1], weight.shape[1])  # (R, C) -> (..., C)
        return for_x, inner.t() @ rows, inner.sum(0, dtype=torch.float32) if ctx.has_bias else None, None


# ---------------------------------------------------------------- attention


def causal_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Mask) -> torch.Tensor:
    """softmax(Q K^T / sqrt(D) + future) V, in which dropout ``mask``s the weights: each (B, H, T, D), on the CPU.

    PyTorch's fused kernel for the CPU has no dropout; this has it, and is faster without dropout too.
    """
    flat = (x.flatten(0, 1).contiguous() for x in (query, key, value))  # (B, H, T, D) -> (N, T, D), N = B H
    return _CausalAttention.apply(*flat, mask).view(query.shape)


def _chunks(T: int) -> Iterator[tuple[slice, slice]]:
    """Positions that ask, ``QUERIES`` at a time, and the positions that they see."""
    for start in range(0, T, QUERIES):
        end = min(start + QUERIES, T)
        yield slice(start, end), slice(0, end)


class _CausalAttention(torch.autograd.Function):
    """Q, K and V are (N, T, D), with N batches times heads.

    A chunk of n queries that ends before position e has weights (N, n, e): the (n, T - e) block to the right of it
    lies in its future and is never computed, a quarter of the whole matrix for T = 128 and QUERIES = 64. Only the
    chunk's last (n, n) block lies on the diagonal and needs -inf above it. The weights and their gradients are
    float32 but where they are multiplied, which is in the type of Q, K and V.
    """

    @staticmethod
    def forward(ctx, query, key, value, mask):
        query = query / math.sqrt(query.shape[-1])  # T D divisions; of the scores it would be T T
        mixed = torch.empty_like(query)
        future = torch.full((QUERIES, QUERIES), -math.inf, dtype=query.dtype).triu_(1)
        masks, kept = [], []
        for asking, seen in _chunks(query.shape[1]):
            scores = torch.bmm(query[:, asking], key[:, seen].transpose(1, 2))  # (N, n, D) (N, D, e) -> (N, n, e)
            n = scores.shape[1]
            scores[:, :, -n:] += future[:n, :n]
            weights = scores.softmax(-1, dtype=torch.float32)
            masks.append(mask(weights.shape))
            dropped = (weights if masks[-1] is None else weights * masks[-1]).to(query.dtype)
            torch.bmm(dropped, value[:, seen], out=mixed[:, asking])  # (N, n, e) (N, e, D) -> (N, n, D)
            kept += [weights, dropped]
        ctx.save_for_backward(query, key, value, *kept)
        ctx.masks = masks
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        """With P the weights, M the mask, and A = P M (A V is the output): dV = A^T dO and dP = (dO V^T) M.

        A row of the softmax, P = softmax(S), gives dS = P (dP - sum(P dP)), the sum over the row's keys; where P is
        0, as in the future, so is dS. Then dQ = dS K and dK = dS^T Q. Every query adds to the gradients of the keys
        and values that it sees, so those are summed over chunks; a query is in one chunk only.
        """
        query, key, value, *kept = ctx.saved_tensors
        for_query, for_key, for_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        for chunk, (asking, seen) in enumerate(_chunks(query.shape[1])):
            weights, dropped = kept[2 * chunk], kept[2 * chunk + 1]
            mask = ctx.masks[chunk]
            for_value[:, seen].baddbmm_(dropped.transpose(1, 2), gradient[:, asking])
            for_weights = torch.bmm(gradient[:, asking], value[:, seen].transpose(1, 2)).float()
            if mask is not None:
                for_weights *= mask
            for_scores = torch._softmax_backward_data(for_weights, weights, -1, weights.dtype).to(query.dtype)
            torch.bmm(for_scores, key[:, seen], out=for_query[:, asking])
            for_key[:, seen].baddbmm_(for_scores.transpose(1, 2), query[:, asking])
        # The saved query is the scaled one, Q / sqrt(D): right for dK as it is, while dQ needs the factor still.
        return for_query / math.sqrt(query.shape[-1]), for_key, for_value, None
