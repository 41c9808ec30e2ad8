"""Dry checks: does every part do its job on a toy problem, before real rows are touched?"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from torch import Tensor

from dfl.config.options import PartType, options_of
from dfl.hypergrad import AbstractHypergradient, ComposedLoss, Parameters
from dfl.layers import AbstractLayer
from dfl.losses import AbstractDecisionLoss, LoggedBatch
from dfl.problem import AllocationProblem
from dfl.solvers import AbstractSolver

__all__ = ["Check", "check_allocation", "check_parts"]

_ROWS, _TREATMENTS = 24, 3


@final
@dataclass(frozen=True)
class Check:
    """What a dry check found.

    Args:
        where: path of the part.
        promise: what the part must do here.
        problem: why it does not, or None where it does.
    """

    where: str
    promise: str
    problem: str | None


def check_parts(method: object, part: PartType) -> tuple[Check, ...]:
    """Try every layer, decision loss and hypergradient of a method on a toy problem.

    Args:
        method: the method.
        part: what kind of part it is.
    """
    return tuple(
        _try(where, promise, partial(run, one))
        for where, one in _inside(method, part, "method")
        for kind, (promise, run) in _TRIALS.items()
        if isinstance(one, kind)
    )


def check_allocation(solver: AbstractSolver) -> Check:
    """Try the solver that allocates: one budget, met by predicted costs."""
    revenue, cost, _ = _toy()

    def run() -> None:
        found = solver.solve(AllocationProblem(revenue, cost, 10.0))
        _need(float(found.cost) <= 10.0 * (1 + 1e-9), "its allocation costs more than the budget")

    return _try("solver", "allocates one budget by predicted costs", run)


def _layer(layer: AbstractLayer) -> None:
    revenue, cost, batch = _toy()
    revenue = revenue.requires_grad_()
    shares = layer(revenue, cost, 10.0, batch.observed_cost).shares
    rows = shares.sum(dim=-1)
    _need(shares.shape == revenue.shape, f"its shares have shape {tuple(shares.shape)}")
    _need(torch.allclose(rows, torch.ones_like(rows)), "its shares do not add up to 1")
    received = shares.gather(-1, batch.treatment[:, None])
    _moves((received * batch.revenue[:, None]).sum(), revenue)
    if layer.uses_budget:
        tight, rich = (_spend(layer, budget) for budget in (5.0, 20.0))
        _need(tight < rich, "it spends as much of a budget of 5 as of one of 20")


def _spend(layer: AbstractLayer, budget: float) -> float:
    """Return the estimated observed spend of a layer's shares on the toy problem."""
    revenue, cost, batch = _toy()
    received, _ = layer.received(revenue, cost, budget, batch.observed_cost)
    return float((batch.weight * received * batch.cost).sum().detach())


def _loss(loss: AbstractDecisionLoss) -> None:
    revenue, cost, batch = _toy()
    revenue = revenue.requires_grad_()
    value = loss(revenue, cost, batch, 10.0)
    _need(value.shape == (), f"its value has shape {tuple(value.shape)}")
    _moves(value, revenue)


def _hypergrad(hypergrad: AbstractHypergradient) -> None:
    inner = {"x": torch.tensor([0.5, -1.0], dtype=torch.float64)}
    outer = {"y": torch.tensor([0.5, -1.0], dtype=torch.float64)}

    inner_loss = ComposedLoss(lambda x, _: x["x"], lambda x, y: (x - y["y"]).square().sum())

    def outer_loss(x: Parameters, y: Parameters) -> Tensor:
        return (x["x"] - 3).square().sum()

    found = hypergrad(inner_loss, outer_loss, inner, outer).outer_grad["y"]
    _need(bool(found.isfinite().all()), "its derivative is not finite")
    _need(bool((found < 0).all()), "its derivative points away from the optimum")


_TRIALS: Mapping[type, tuple[str, Callable[[Any], None]]] = {
    AbstractLayer: ("soft allocation within observed costs, with a gradient", _layer),
    AbstractDecisionLoss: ("values decisions on randomised rows, with a gradient", _loss),
    AbstractHypergradient: ("differentiates through an inner optimum", _hypergrad),
}


@final
class _UnfitError(Exception):
    """A part does not do what its place needs."""


def _need(holds: bool, problem: str) -> None:
    if not holds:
        raise _UnfitError(problem)


def _moves(value: Tensor, revenue: Tensor) -> None:
    _need(value.requires_grad, "it carries no gradient")
    (gradient,) = torch.autograd.grad(value, revenue)
    _need(bool(gradient.isfinite().all()), "its gradient is not finite")
    _need(bool((gradient != 0).any()), "its gradient is zero everywhere")


def _try(where: str, promise: str, run: Callable[[], None]) -> Check:
    try:
        run()
    except Exception as error:  # a third party's part may fail in any way
        return Check(where, promise, str(error))
    return Check(where, promise, None)


def _toy() -> tuple[Tensor, Tensor, LoggedBatch]:
    """Return predicted revenue and cost ``(N, M)``, and logs of the same people."""
    generator = torch.Generator().manual_seed(0)
    shape = (_ROWS, _TREATMENTS)
    dose = torch.arange(_TREATMENTS, dtype=torch.float64)
    revenue = torch.rand(shape, generator=generator, dtype=torch.float64) + 2 * dose.sqrt()
    cost = dose * (0.5 + torch.rand(shape, generator=generator, dtype=torch.float64))
    treatment = torch.arange(_ROWS) % _TREATMENTS
    seen = treatment[:, None]
    weight = torch.full((_ROWS,), float(_TREATMENTS), dtype=torch.float64)
    # Outcomes differ from predictions: where those are right, a loss may have no gradient.
    luck = 0.5 + torch.rand(_ROWS, generator=generator, dtype=torch.float64)
    earned, paid = (luck * column.gather(1, seen)[:, 0] for column in (revenue, cost))
    logs = LoggedBatch(treatment, earned, paid, weight, revenue.clone(), cost.clone())
    return revenue, cost, logs


def _inside(instance: object, part: PartType, where: str) -> Iterator[tuple[str, object]]:
    """Yield the parts in a part, then the part itself, with their paths."""
    for option in options_of(type(instance)).values():
        value = getattr(instance, option.name)
        if option.part is None or value is None:
            continue
        several = value if option.part.many else (value,)
        for one in several:
            yield from _inside(one, option.part, f"{where}.{option.name}")
    yield where, instance
