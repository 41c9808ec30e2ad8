"""The chance of each entry to be largest under normal noise, and its derivative, by quadrature."""

# mypy: disable-error-code="untyped-decorator,no-untyped-call"

import math
from functools import cache
from typing import Protocol

import torch
import triton
from torch import Tensor
from triton import language as tl

from dfl.kernels.launch import launch

__all__ = ["choose", "multiply"]

_TILE = 1024  # numbers of each kind that one program holds
_TERMS = {torch.float32: 12, torch.float64: 26}  # of the series for erfcx, for the dtype's rounding


class Rule(Protocol):
    """Nodes of the trapezoid rule, measured from each row's largest value."""

    @property
    def offsets(self) -> tuple[float, ...]:
        """Distance of each node."""

    @property
    def step(self) -> float:
        """Distance between neighbours."""

    @property
    def furthest(self) -> float:
        """How far below the largest an entry still counts."""


def choose(values: Tensor, rule: Rule) -> Tensor:
    """Return the probabilities; see `normal_choice` of the layers.

    ``Phi`` and ``phi / Phi`` are evaluated at each node, through ``exp(z^2) erfc(z)`` as a series
    of Chebyshev polynomials in ``1 / (1 + z / 2)``, which keeps both right far out in the tail.

    Args:
        values: in units of the noise. Shape ``(N, M)``.
        rule: the nodes.
    """
    found = torch.empty_like(values, memory_format=torch.contiguous_format)
    _launch(_choose, (values.contiguous(),), found, rule)
    return found


def multiply(values: Tensor, vector: Tensor, rule: Rule) -> Tensor:
    """Return the Jacobian of `choose` times a vector.

    Args:
        values: in units of the noise. Shape ``(N, M)``.
        vector: shape ``(N, M)``.
        rule: the nodes.
    """
    found = torch.empty_like(values, memory_format=torch.contiguous_format)
    _launch(_multiply, (values.contiguous(), vector.contiguous()), found, rule)
    return found


def _launch(kernel, inputs: tuple[Tensor, ...], found: Tensor, rule: Rule) -> None:  # type: ignore[no-untyped-def]
    rows, arms = found.shape
    if not found.numel():
        return
    terms = _TERMS[found.dtype]
    numbers = _numbers(rule.offsets, rule.step, rule.furthest, terms, found.dtype, found.device)
    width = triton.next_power_of_2(arms)
    block = max(_TILE // width, 1)
    sizes = (rows, len(rule.offsets), arms, terms, width, block)
    launch(kernel, triton.cdiv(rows, block), *inputs, found, numbers, *sizes)


@cache
@torch.inference_mode(mode=False)
def _numbers(
    offsets: tuple[float, ...], step: float, furthest: float, terms: int,
    dtype: torch.dtype, device: torch.device,
) -> Tensor:  # fmt: skip
    """Return all numbers of a kernel: literals in its text would be rounded to float32.

    ``furthest``, ``step``, ``1 / sqrt(2)``, ``1 / sqrt(2 pi)``, the coefficients of ``exp(z^2)
    erfc(z) / t`` from the last to the first, and the offsets.
    """
    angle = math.pi * (torch.arange(terms, dtype=torch.float64) + 0.5) / terms
    t = (angle.cos() + 1) / 2
    height = torch.special.erfcx(2 * (1 - t) / t) / t
    order = torch.arange(terms, dtype=torch.float64)
    series = 2 / terms * (order[:, None] * angle).cos() @ height
    series[0] /= 2
    scale = math.sqrt(0.5)
    numbers = [
        furthest,
        step,
        scale,
        scale / math.sqrt(math.pi),
        *series.flip(0).tolist(),
        *offsets,
    ]
    return torch.tensor(numbers, dtype=torch.float64).to(device, dtype)


@triton.jit
def _factors(u, numbers, terms: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return ``phi(u) / Phi(u)`` and ``log Phi(u)``."""
    z = tl.abs(u) * tl.load(numbers + 2)
    t = 1.0 / (1.0 + 0.5 * z)
    twice = 4.0 * t - 2.0
    now, before = tl.zeros_like(t), tl.zeros_like(t)
    for k in range(terms - 1):
        now, before = twice * now - before + tl.load(numbers + 4 + k), now
    height = t * (0.5 * twice * now - before + tl.load(numbers + 3 + terms))  # exp(z^2) erfc(z)
    fall = tl.exp(-z * z)
    rest = 1.0 - 0.5 * height * fall
    peak = tl.load(numbers + 3)
    ratio = tl.where(u < 0, 2.0 * peak / height, peak * fall / rest)
    return ratio, tl.log(tl.where(u < 0, 0.5 * height, rest)) - tl.where(u < 0, z * z, 0.0)


@triton.jit
def _tile(rows, arms: tl.constexpr, width: tl.constexpr, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return where a program's numbers lie, which of them there are, and which entries."""
    row = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    entry = tl.arange(0, width)
    real = (entry < arms)[None, :]
    return row[:, None] * arms + entry[None, :], real & (row < rows)[:, None], real


@triton.jit
def _below(value, real, furthest):  # type: ignore[no-untyped-def]
    """Return how far each value is below its row's largest."""
    top = tl.max(tl.where(real, value, float("-inf")), axis=1)
    return tl.minimum(top[:, None] - value, furthest)


@triton.jit
def _choose(  # type: ignore[no-untyped-def]
    values, found, numbers, rows, count: tl.constexpr, arms: tl.constexpr, terms: tl.constexpr,
    width: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    at, inside, real = _tile(rows, arms, width, block)
    below = _below(tl.load(values + at, mask=inside, other=0.0), real, tl.load(numbers))
    total = tl.zeros_like(below)
    for node in range(count):
        ratio, log = _factors(tl.load(numbers + 4 + terms + node) + below, numbers, terms)
        product = tl.exp(tl.sum(tl.where(real, log, 0.0), axis=1))
        total += ratio * product[:, None]
    tl.store(found + at, total * tl.load(numbers + 1), mask=inside)


@triton.jit
def _multiply(  # type: ignore[no-untyped-def]
    values, vector, found, numbers, rows, count: tl.constexpr, arms: tl.constexpr,
    terms: tl.constexpr, width: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    at, inside, real = _tile(rows, arms, width, block)
    below = _below(tl.load(values + at, mask=inside, other=0.0), real, tl.load(numbers))
    along = tl.load(vector + at, mask=inside, other=0.0)
    # Less its mean, which changes nothing but the rounding.
    along = tl.where(real, along - (tl.sum(along, axis=1) / arms)[:, None], 0.0)
    total = tl.zeros_like(below)
    for node in range(count):
        ratio, log = _factors(tl.load(numbers + 4 + terms + node) + below, numbers, terms)
        product = tl.exp(tl.sum(tl.where(real, log, 0.0), axis=1))
        ratio = tl.where(real, ratio, 0.0)
        whole, mixed = tl.sum(ratio, axis=1), tl.sum(ratio * along, axis=1)
        total += ratio * (along * whole[:, None] - mixed[:, None]) * product[:, None]
    tl.store(found + at, total * tl.load(numbers + 1), mask=inside)
