"""The share of each received treatment under a softmax of priced scores, and its derivative."""

# mypy: disable-error-code="untyped-decorator,no-untyped-call"

import torch
import triton
from torch import Tensor
from triton import language as tl

from dfl.kernels.launch import launch

__all__ = ["pull_back", "received_and_shares", "weighted_sums", "weighted_sums_slope"]

_BLOCK = 256  # people of one program
_SUMMED = 1024


def received_and_shares(
    revenue: Tensor, cost: Tensor, multiplier: Tensor, temperature: Tensor, treatment: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the shares ``(..., N)`` of received treatments, and all shares ``(..., M, N)``.

    ``softmax_j((revenue_ij - multiplier * cost_ij) / temperature)``.

    Args:
        revenue: shape ``(..., N, M)``.
        cost: shape ``(..., N, M)``.
        multiplier: shape ``(...)``.
        temperature: > 0. Shape ``(...)``.
        treatment: int64 in ``0 .. M-1``. Shape ``(..., N)``.
    """
    *leading, rows, arms = revenue.shape
    shares = revenue.new_empty(*leading, arms, rows)
    received = revenue.new_empty(*leading, rows)
    if received.numel():
        prices = (multiplier.contiguous(), temperature.contiguous())
        inputs = (revenue.contiguous(), cost.contiguous(), *prices, treatment.contiguous())
        launch(
            _shares,
            triton.cdiv(rows, _BLOCK) * multiplier.numel(),
            *inputs,
            received,
            shares,
            rows,
            arms,
            _BLOCK,
        )
    return received, shares


def pull_back(
    moved: Tensor, multiplier: Tensor, treatment: Tensor, shares: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients in revenue and cost, ``(..., M, N)`` each.

    ``by_revenue_ij = moved_i (1[j = t_i] - share_ij)``, ``by_cost = - multiplier * by_revenue``.

    Args:
        moved: ``slope * received / temperature``. Shape ``(..., N)``.
        multiplier: shape ``(...)``.
        treatment: shape ``(..., N)``.
        shares: contiguous. Shape ``(..., M, N)``.
    """
    *_, arms, rows = shares.shape
    by_revenue, by_cost = torch.empty_like(shares), torch.empty_like(shares)
    if shares.numel():
        inputs = (moved.contiguous(), multiplier.contiguous(), treatment.contiguous(), shares)
        launch(
            _pull,
            triton.cdiv(rows, _BLOCK) * multiplier.numel(),
            *inputs,
            by_revenue,
            by_cost,
            rows,
            arms,
            _BLOCK,
        )
    return by_revenue, by_cost


def weighted_sums(received: Tensor, outcome: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``sum_i weight_i received_i outcome_i`` and ``sum_i weight_i received_i``.

    Added up in the inputs' precision within a program, over programs by torch.

    Args:
        received: shape ``(..., N)``.
        outcome: shape ``(..., N)``.
        weight: shape ``(..., N)``.
    """
    *leading, rows = received.shape
    problems, programs = received.shape[:-1].numel(), triton.cdiv(rows, _SUMMED)
    sums = received.new_empty(2, problems * programs)
    if sums.numel():
        inputs = (received.contiguous(), outcome.contiguous(), weight.contiguous())
        launch(_sums, programs * problems, *inputs, sums, rows, _SUMMED)
    valued, matched = (column.view(*leading, programs).sum(dim=-1) for column in sums)
    return valued, matched


def weighted_sums_slope(
    of_value: Tensor, of_weight: Tensor, outcome: Tensor, weight: Tensor
) -> Tensor:
    """Return the gradient in ``received``: ``weight (of_value outcome + of_weight)``.

    Args:
        of_value: slope of the first sum. Shape ``(...)``.
        of_weight: slope of the second. Shape ``(...)``.
        outcome: shape ``(..., N)``.
        weight: shape ``(..., N)``.
    """
    rows, found = (
        outcome.shape[-1],
        torch.empty_like(outcome, memory_format=torch.contiguous_format),
    )
    if found.numel():
        slopes = (of_value.contiguous(), of_weight.contiguous())
        launch(
            _sums_slope,
            triton.cdiv(rows, _SUMMED) * of_value.numel(),
            *slopes,
            outcome.contiguous(),
            weight.contiguous(),
            found,
            rows,
            _SUMMED,
        )
    return found


@triton.jit
def _people(rows, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return a program's problem, its people, and which of them there are."""
    programs = tl.cdiv(rows, block)
    problem = (tl.program_id(0) // programs).to(tl.int64)
    row = (tl.program_id(0) % programs).to(tl.int64) * block + tl.arange(0, block)
    return problem, row, row < rows


@triton.jit
def _score(revenue, cost, price, tau, at, inside):  # type: ignore[no-untyped-def]
    """Return one treatment's scores in units of the temperature; minus infinity outside."""
    earned = tl.load(revenue + at, mask=inside, other=0.0)
    return (earned - price * tl.load(cost + at, mask=inside, other=0.0)) / tau


@triton.jit
def _shares(  # type: ignore[no-untyped-def]
    revenue, cost, multiplier, temperature, treatment, received, shares, rows,
    arms: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Find the largest score and the sum of exponentials on one way, shares on a second."""
    problem, row, inside = _people(rows, block)
    price, tau = tl.load(multiplier + problem), tl.load(temperature + problem)
    first = (problem * rows + row) * arms
    most = _score(revenue, cost, price, tau, first, inside)
    total = tl.full((block,), 1.0, most.dtype)
    for j in range(1, arms):
        score = _score(revenue, cost, price, tau, first + j, inside)
        higher = tl.maximum(most, score)
        # A score of minus infinity adds nothing, and is never compared with itself.
        lasting = tl.where(most == higher, 1.0, tl.exp(most - higher))
        total = total * lasting + tl.where(score == higher, 1.0, tl.exp(score - higher))
        most = higher
    got = tl.load(treatment + problem * rows + row, mask=inside, other=0)
    mine = tl.zeros((block,), most.dtype)
    for j in range(arms):
        score = _score(revenue, cost, price, tau, first + j, inside)
        share = tl.exp(score - most) / total
        mine = tl.where(got == j, share, mine)
        tl.store(shares + (problem * arms + j) * rows + row, share, mask=inside)
    tl.store(received + problem * rows + row, mine, mask=inside)


@triton.jit
def _pull(  # type: ignore[no-untyped-def]
    moved, multiplier, treatment, shares, by_revenue, by_cost, rows,
    arms: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    problem, row, inside = _people(rows, block)
    price = tl.load(multiplier + problem)
    got = tl.load(treatment + problem * rows + row, mask=inside, other=0)
    slope = tl.load(moved + problem * rows + row, mask=inside, other=0.0)
    for j in range(arms):
        place = (problem * arms + j) * rows + row
        share = tl.load(shares + place, mask=inside, other=0.0)
        found = slope * (tl.where(got == j, 1.0, 0.0) - share)
        tl.store(by_revenue + place, found, mask=inside)
        tl.store(by_cost + place, -price * found, mask=inside)


@triton.jit
def _sums(received, outcome, weight, sums, rows, block: tl.constexpr):  # type: ignore[no-untyped-def]
    problem, row, inside = _people(rows, block)
    at = problem * rows + row
    share = tl.load(received + at, mask=inside, other=0.0)
    weighted = share * tl.load(weight + at, mask=inside, other=0.0)
    valued = weighted * tl.load(outcome + at, mask=inside, other=0.0)
    tl.store(sums + tl.program_id(0), tl.sum(valued, axis=0))
    tl.store(sums + tl.num_programs(0) + tl.program_id(0), tl.sum(weighted, axis=0))


@triton.jit
def _sums_slope(  # type: ignore[no-untyped-def]
    of_value, of_weight, outcome, weight, found, rows, block: tl.constexpr
):
    problem, row, inside = _people(rows, block)
    at = problem * rows + row
    earned = tl.load(outcome + at, mask=inside, other=0.0)
    slope = tl.load(of_value + problem) * earned + tl.load(of_weight + problem)
    tl.store(found + at, tl.load(weight + at, mask=inside, other=0.0) * slope, mask=inside)
