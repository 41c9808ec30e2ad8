"""Checks of what a problem asks for beside money: masks, pins, capacities."""

import torch
from torch import Tensor

from dfl.errors import DTypeError, InfeasibleProblemError, InvalidValueError, ShapeError

__all__ = ["check_allowed", "check_capacity", "check_pinned"]


def check_allowed(allowed: Tensor, revenue: Tensor) -> None:
    """Check a mask as `AllocationProblem` describes it."""
    if allowed.dtype != torch.bool or allowed.device != revenue.device:
        raise DTypeError(
            f"allowed must be bool on {revenue.device}, got {allowed.dtype} on {allowed.device}."
        )
    if allowed.shape != revenue.shape:
        raise ShapeError(
            f"allowed must be {tuple(revenue.shape)} as revenue is, got {tuple(allowed.shape)}."
        )
    nothing = ~allowed.any(dim=1)
    if bool(nothing.any()):
        raise InvalidValueError(
            f"allowed must leave everyone a treatment, got {int(nothing.sum())} row(s) without; "
            f"the first is row {int(nothing.nonzero()[0])}."
        )


def check_pinned(pinned: Tensor, allowed: Tensor | None, revenue: Tensor) -> None:
    """Check who is pinned to what as `AllocationProblem` describes it."""
    rows, treatments = revenue.shape
    if pinned.dtype != torch.int64 or pinned.device != revenue.device:
        raise DTypeError(
            f"pinned must be int64 on {revenue.device}, got {pinned.dtype} on {pinned.device}."
        )
    if pinned.shape != (rows,):
        raise ShapeError(f"pinned must be ({rows},), got {tuple(pinned.shape)}.")
    if bool(((pinned < -1) | (pinned >= treatments)).any()):
        raise InvalidValueError(
            f"pinned must lie in -1 .. {treatments - 1}, -1 for people who are free, got "
            f"{int(pinned.min())} .. {int(pinned.max())}."
        )
    if allowed is not None:
        fixed = (pinned >= 0).nonzero()[:, 0]
        clash = fixed[~allowed[fixed, pinned[fixed]]]
        if clash.shape[0]:
            raise InvalidValueError(
                f"pinned must be a treatment that is allowed, got {clash.shape[0]} row(s) where "
                f"it is not; the first is row {int(clash[0])}."
            )


def check_capacity(capacity: Tensor, pinned: Tensor | None, revenue: Tensor) -> None:
    """Check capacities as `AllocationProblem` describes them."""
    rows, treatments = revenue.shape
    if capacity.shape != (treatments,):
        raise ShapeError(f"capacity must be ({treatments},), got {tuple(capacity.shape)}.")
    if not bool((capacity >= 0).all()):
        raise InvalidValueError(f"capacity must be >= 0, got {capacity.tolist()}.")
    places = capacity.double().floor()
    if float(places.sum()) < rows:
        raise InfeasibleProblemError(
            f"capacity must take all {rows} people, got places for {float(places.sum()):g}; raise "
            "a capacity, or set that of doing nothing to infinity."
        )
    if pinned is not None:
        taken = torch.bincount(pinned[pinned >= 0], minlength=treatments).to(places.device)
        if bool((taken > places).any()):
            raise InfeasibleProblemError(
                f"capacity must take the people pinned, {taken.tolist()} per treatment, got "
                f"{capacity.tolist()}; raise it or pin fewer."
            )
