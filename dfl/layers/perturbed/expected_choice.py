"""Chance of each entry to be largest under independent noise, and the expected maximum: exact."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, cast, final, get_args

import torch
from torch import Tensor

from dfl.checks import check_choice, check_tensor
from dfl.errors import ShapeError
from dfl.kernels import by_triton
from dfl.layers.perturbed.argmax import check_values
from dfl.layers.perturbed.noise import SmoothNoise
from dfl.layers.perturbed.normal_nodes import factors, nodes
from dfl.layers.pricing.problems import eagerly, lift, signed

__all__ = ["expected_choice", "expected_maximum", "normal_choice", "normal_maximum"]

_ON_CPU = 2**17  # numbers worked on at once: a handful of such arrays stay in the cache
_ELSEWHERE = 2**24
_IN_KERNEL = 1024  # entries that one program of a kernel holds


def expected_choice(values: Tensor, noise: SmoothNoise) -> Tensor:  # (..., M) -> (..., M)
    """Compute the probability of each entry to be the largest after adding noise.

    Gumbel: ``softmax(values)``. Normal: a one-dimensional integral, see `normal_choice`.

    Args:
        values: in units of the noise. Shape ``(..., M)``.
        noise: standard normal or standard Gumbel, independent per entry.

    Returns:
        Probabilities ``(..., M)``, differentiable twice.

    Raises:
        ShapeError: if there is no entry.
        DTypeError: if values are no tensor of floating point.
        InvalidValueError: if the noise is neither.

    Source:
        Gumbel: Gumbel (1954), Maddison et al. (2014), arXiv:1411.0030.
    """
    check_choice("noise", noise, get_args(SmoothNoise))
    if noise == "normal":
        return normal_choice(values)
    _check(values)
    # Along an inner axis of few entries a softmax cannot use vector instructions.
    return values.mT.contiguous().softmax(dim=-2).mT if values.ndim > 1 else values.softmax(-1)


def expected_maximum(values: Tensor, noise: SmoothNoise) -> Tensor:  # (..., M) -> (...)
    """Compute the expected largest entry after adding noise of mean 0.

    Its gradient is `expected_choice`. Gumbel, moved to mean 0: ``logsumexp(values)``.

    Args:
        values: in units of the noise. Shape ``(..., M)``.
        noise: normal or Gumbel, independent per entry.

    Returns:
        Expected maxima ``(...)``.

    Raises:
        ShapeError: as `expected_choice`.
        DTypeError: likewise.
        InvalidValueError: likewise.
    """
    check_choice("noise", noise, get_args(SmoothNoise))
    if noise == "normal":
        return normal_maximum(values)
    _check(values)
    return values.logsumexp(dim=-1)


def normal_choice(values: Tensor) -> Tensor:  # (..., M) -> (..., M)
    """Compute the probability of each entry to be the largest of ``values + Z``, ``Z ~ N(0, 1)``.

    ``P_j = integral of phi(t - x_j) prod_{k != j} Phi(t - x_k) dt``, by the trapezoid rule with
    nodes that follow each row's largest value. With ``h_k = phi / Phi`` at ``t - x_k`` and ``Q =
    prod_k Phi``, weight included: ``P_j = sum_t Q h_j``, and the derivative along ``v`` is
    ``(J v)_k = sum_t Q h_k (v_k sum_j h_j - sum_j v_j h_j)``; J is symmetric, so one formula
    serves forward and reverse mode. Both need O(values) memory, whatever the number of nodes.

    Args:
        values: in units of the noise's standard deviation, finite. Shape ``(..., M)``.

    Returns:
        Probabilities ``(..., M)``; rows add up to 1. Half precision is worked on in float32, and
        returned as it came. The error is below 1e-6 in float32 and 1e-10
        in float64. Differentiable any number of times, in forward and reverse mode, under
        `torch.func` transforms too.

    Source:
        Berthet et al. (2020), arXiv:2002.08676, for the operator; the quadrature is our own.
    """
    _check(values)
    found = eagerly(_Choice.apply)(_wide(values))  # type: ignore[no-untyped-call]
    return cast("Tensor", found).to(values.dtype)


def normal_maximum(values: Tensor) -> Tensor:  # (..., M) -> (...)
    """Compute ``E max_j (values_j + Z_j)``, whose gradient is `normal_choice`.

    Args:
        values: in units of the noise's standard deviation, finite. Shape ``(..., M)``.

    Returns:
        Expected maxima ``(...)``, exact as `normal_choice` is.
    """
    _check(values)
    found = eagerly(_Maximum.apply)(_wide(values))  # type: ignore[no-untyped-call]
    return cast("Tensor", found).to(values.dtype)


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _check(values: Tensor) -> None:
    check_tensor("values", values)
    check_values(values)
    if not values.shape[-1]:
        raise ShapeError(f"values must have one entry at least, got {tuple(values.shape)}.")


class _Part(NamedTuple):
    """Some rows, treatments first."""

    start: int
    end: int
    values: Tensor  # (M, n)


def _parts(values: Tensor) -> Iterator[_Part]:  # (rows, M)
    """Cut rows into parts that stay in the cache."""
    rows, entries = values.shape
    most = _ON_CPU if values.device.type == "cpu" else _ELSEWHERE
    size = max(most // max(entries, 1), 1)
    for start in range(0, rows, size):
        end = min(start + size, rows)
        yield _Part(start, end, values[start:end].mT.contiguous())


def _choose(values: Tensor) -> Tensor:
    """Return the probabilities, without a graph."""
    rows = values.reshape(-1, values.shape[-1])
    if by_triton(rows) and rows.shape[1] <= _IN_KERNEL:
        from dfl.kernels.normal_choice import choose

        return choose(rows, nodes(values)).reshape(values.shape)
    found, grid = torch.empty_like(rows), nodes(values)
    for part in _parts(rows):
        total = torch.zeros_like(part.values)
        for at in factors(part.values, grid):
            total.addcmul_(at.ratio, at.product, value=grid.step * at.scale)
        found[part.start : part.end] = total.mT
    return found.reshape(values.shape)


def _expect_maximum(values: Tensor) -> Tensor:
    """Return the expected maxima, without a graph."""
    rows, grid = values.reshape(-1, values.shape[-1]), nodes(values)
    found = rows.new_empty(rows.shape[0])
    for part in _parts(rows):
        total = part.values.amax(dim=0)
        for at in factors(part.values, grid):
            total.addcmul_(at.ratio.sum(dim=0), at.product, value=grid.step * at.scale * at.offset)
        found[part.start : part.end] = total
    return found.reshape(values.shape[:-1])


def _multiply(values: Tensor, vector: Tensor) -> Tensor:
    """Return the Jacobian times a vector, without a graph."""
    rows, vectors = values.reshape(-1, values.shape[-1]), vector.reshape(-1, values.shape[-1])
    if by_triton(rows, vectors) and rows.shape[1] <= _IN_KERNEL:
        from dfl.kernels.normal_choice import multiply

        return multiply(rows, vectors, nodes(values)).reshape(values.shape)
    found, grid = torch.empty_like(rows), nodes(values)
    for part in _parts(rows):
        along = vectors[part.start : part.end].mT.contiguous()
        along = along - along.mean(dim=0)  # changes nothing but the rounding
        scaled, plain = torch.zeros_like(along), torch.zeros_like(along)
        weighted = torch.empty_like(along)
        for at in factors(part.values, grid):
            both, weight = at.ratio.sum(dim=0).mul_(at.product), grid.step * at.scale**2
            scaled.addcmul_(at.ratio, both, value=weight)
            torch.mul(along, at.ratio, out=weighted)
            torch.sum(weighted, dim=0, out=both)
            plain.addcmul_(at.ratio, both.mul_(at.product), value=weight)
        found[part.start : part.end] = scaled.mul_(along).sub_(plain).mT
    return found.reshape(values.shape)


def _slope_of_product(values: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return the gradient of ``first J(values) second``, by operations that have a graph.

    ``first J second = sum_t Q (H C - A B)`` with ``A = sum_k first_k h_k``, ``B`` likewise for
    ``second``, ``C = sum_k first_k second_k h_k``, ``H = sum_k h_k``; and ``dQ/dx_k = -Q h_k``,
    ``dh_k/dx_k = h_k (u_k + h_k)`` at ``u = t - x``.
    """
    grid = nodes(values)
    top = values.detach().amax(dim=-1, keepdim=True)
    both, total = first * second, torch.zeros_like(values)
    for offset in grid.offsets:
        u = top + offset - values
        cumulative = 0.5 * torch.erfc(-u * math.sqrt(0.5))
        h = torch.exp(-0.5 * u * u) / math.sqrt(2 * math.pi) / cumulative
        a, b, c, whole = ((one * h).sum(-1, keepdim=True) for one in (first, second, both, 1))
        inner = (u + h) * (c + whole * both - b * first - a * second) - (whole * c - a * b)
        total = total + grid.step * cumulative.prod(dim=-1, keepdim=True) * h * inner
    return total


@final
@signed
class _Choice(torch.autograd.Function):
    @staticmethod
    def forward(values: Tensor) -> Tensor:
        return _choose(values)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return cast("Tensor", _Product.apply(*ctx.saved_tensors, slope))  # type: ignore[no-untyped-call]

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return cast("Tensor", _Product.apply(*ctx.saved_tensors, tangent))  # type: ignore[no-untyped-call]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None], values: Tensor) -> tuple[Tensor, int]:
        return normal_choice(*lift(info.batch_size, in_dims, (values,))), 0


@final
@signed
class _Product(torch.autograd.Function):
    """The Jacobian of `_Choice` times a vector."""

    @staticmethod
    def forward(values: Tensor, vector: Tensor) -> Tensor:
        return _multiply(values, vector)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor]:
        values, vector = ctx.saved_tensors
        by_vector = _Product.apply(values, slope)  # type: ignore[no-untyped-call]
        return _slope_of_product(values, slope, vector), cast("Tensor", by_vector)

    @staticmethod
    def jvp(ctx: Any, of_values: Tensor | None, of_vector: Tensor | None) -> Tensor:
        values, vector = ctx.saved_tensors
        total = torch.zeros_like(values)
        if of_vector is not None:
            total = total + cast("Tensor", _Product.apply(values, of_vector))  # type: ignore[no-untyped-call]
        if of_values is not None:  # the third derivative is symmetric in its three arguments
            total = total + _slope_of_product(values, vector, of_values)
        return total

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, int | None], values: Tensor, vector: Tensor
    ) -> tuple[Tensor, int]:
        both = lift(info.batch_size, in_dims, (values, vector))
        return cast("Tensor", _Product.apply(*both)), 0  # type: ignore[no-untyped-call]


@final
@signed
class _Maximum(torch.autograd.Function):
    @staticmethod
    def forward(values: Tensor) -> Tensor:
        return _expect_maximum(values)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return slope.unsqueeze(-1) * normal_choice(*ctx.saved_tensors)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return (tangent * normal_choice(*ctx.saved_tensors)).sum(dim=-1)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None], values: Tensor) -> tuple[Tensor, int]:
        return normal_maximum(*lift(info.batch_size, in_dims, (values,))), 0
