"""`Lab`: measures layers and hypergradients on a batch of one's own."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, final

import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.checks import check_count, check_number
from dfl.data import CouponSimulator, PartSizes, UpliftData, split
from dfl.errors import InvalidValueError
from dfl.hypergrad import HYPERGRADIENTS, AbstractHypergradient, Exact
from dfl.lab.bench import PENALTY, Bench
from dfl.lab.findings import Finding, Findings
from dfl.lab.price_tag import PriceTag
from dfl.layers import LAYERS, AbstractLayer
from dfl.registry import Registry
from dfl.seeds import normal, stream

__all__ = ["Lab"]

_DIRECTIONS = 16  # along which a layer's own loss is differenced
_TINY = 1e-5  # step of those differences, in spreads of the scores


@final
@dataclass(frozen=True, kw_only=True)
class Lab:
    """How layers and hypergradients are measured.

    Both stand on one linear model of the batch, `dfl.lab.bench.Bench`, at its ridge fit, where
    gradients are short enough to be checked weight by weight. A layer's gradient is that of the
    loss of its allocation in the model's weights. A hypergradient is that of the same loss, with
    softmax, on one half of the rows in the penalties under which the other half was fitted; the
    constant of the model has none.

    Args:
        budget: money; a share is taken of the treatments' mean costs.
        rows: most rows of the batch that are used, drawn at random, >= 20.
        draws: redraws of the rows behind every variance, >= 2.
        step: of the differences of the hard decision's loss, in spreads of the scores over
            treatments, > 0: as far as training moves predictions, so that decisions flip.
        patience: seconds per part; one whose first gradient tells that it would take longer is
            not redrawn.
        seed: of the draws.

    Raises:
        InvalidValueError: if a number is out of range.
    """

    budget: Budget = field(default_factory=lambda: Budget(share=0.3))
    rows: int = 20_000
    draws: int = 8
    step: float = 0.2
    patience: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_count("rows", self.rows, at_least=20)
        check_count("draws", self.draws, at_least=2)
        for name in ("step", "patience"):
            check_number(name, getattr(self, name), above=0)

    def run(
        self,
        data: UpliftData | None = None,
        *,
        layers: Mapping[str, AbstractLayer] | None = None,
        hypergradients: Mapping[str, AbstractHypergradient] | None = None,
    ) -> Findings:
        """Measure every registered part with its defaults, and those given.

        Args:
            data: randomised rows, or rows of known propensity; None: the coupon simulator's.
            layers: more layers by name; a registered name stands for this one instead.
            hypergradients: likewise.

        Returns:
            A finding for every name; one that cannot take the batch says why.

        Raises:
            InvalidValueError: if the rows are observational and carry no propensity, a
                treatment has fewer than two rows, or nobody on a half of the rows that are
                used received what the model decides.
            InfeasibleBudgetError: if the budget is below the cheapest treatment for everyone.
        """
        bench = Bench.of(self._batch(data), self.budget)
        reference = self._reference(bench)
        halves = bench.halves(stream(self.seed, "halves"))
        repeatability = _cosine(*(self._reference(half) for half in halves))
        return Findings(
            layers=[
                self._layer(name, make, bench, reference)
                for name, make in _parts(LAYERS, layers or {}).items()
            ],
            hypergradients=[
                self._hypergradient(name, make, halves)
                for name, make in _parts(HYPERGRADIENTS, hypergradients or {}).items()
            ],
            rows=len(bench.data),
            weights=bench.weight.numel(),
            repeatability=repeatability,
        )

    def _batch(self, data: UpliftData | None) -> UpliftData:
        if data is None:
            data = CouponSimulator(sizes=PartSizes(test=self.rows)).hybrid(self.seed).test
        if int(data.arm_counts.min()) < 2:
            raise InvalidValueError(
                "the lab halves the batch, so every treatment needs two rows or more, got "
                f"{data.arm_counts.tolist()} by treatment; leave the treatment out."
            )
        share = self.rows / len(data)
        return split(data, [share], seed=self.seed)[0] if share < 1 else data

    def _reference(self, bench: Bench) -> Tensor:
        """Return central differences of the hard decision's loss, one weight after the other."""
        step, each = self.step * bench.scale, torch.eye(bench.weight.numel())
        try:
            return _differences(bench.hard_loss, bench.weight, each, step)
        except InvalidValueError as error:  # nobody received what is decided
            raise InvalidValueError(
                f"too few rows for the lab: none of {len(bench.data)} received what the model "
                f"decides; take more, got rows={self.rows}."
            ) from error

    def _layer(
        self, name: str, make: Callable[[], AbstractLayer], bench: Bench, reference: Tensor
    ) -> Finding:
        def gradient(on: Bench, layer: AbstractLayer) -> tuple[Tensor, Tensor]:
            weight = on.weight.clone().requires_grad_()
            loss = on.loss_of(layer)(weight)
            return -loss.detach(), torch.autograd.grad(loss, weight)[0].flatten()

        def own_cosine(layer: AbstractLayer, found: Tensor) -> float | None:
            draw = normal(_DIRECTIONS, found.numel(), generator=stream(self.seed, "along"))
            along = (draw / draw.norm(dim=1, keepdim=True)).to(found)
            with torch.no_grad():
                moved = _differences(bench.loss_of(layer), bench.weight, along, _TINY * bench.scale)
            # A staircase may have a step or two even this near.
            return _cosine(along @ found, moved) if bool(moved.abs().median() > 0) else None

        return self._measured(
            _Subject("layers", name, make, gradient, own_cosine), bench, reference
        )

    def _hypergradient(
        self, name: str, make: Callable[[], AbstractHypergradient], halves: tuple[Bench, Bench]
    ) -> Finding:
        lower, upper = halves
        outer = {"log_penalty": torch.full_like(lower.weight[:-1], PENALTY).log()}

        def gradient(on: Bench, hypergrad: AbstractHypergradient) -> tuple[Tensor, Tensor]:
            inner = {"weight": lower.fitted(outer["log_penalty"])}
            found = hypergrad(lower.inner_loss, on.outer_loss, inner, outer)
            return -found.outer_value, found.outer_grad["log_penalty"].flatten()

        exact = gradient(upper, Exact(max_size=lower.weight.numel()))[1]
        return self._measured(_Subject("hypergrad", name, make, gradient), upper, exact)

    def _measured(self, subject: "_Subject", bench: Bench, reference: Tensor) -> Finding:
        """Measure one part; whatever it raises becomes the note of its row."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                seen = self._seen(subject, bench, reference)
        except Exception as error:  # a part of a third party may fail in any way
            seen = {"note": f"{type(error).__name__}: {error}"}
        return Finding(family=subject.family, name=subject.name, **seen)

    def _seen(self, subject: "_Subject", bench: Bench, reference: Tensor) -> dict[str, Any]:
        part, device = subject.make(), bench.design.device
        subject.gradient(bench, part)  # the first call also loads and compiles
        (value, found), took = PriceTag.timed(lambda: subject.gradient(bench, part), device)
        if not bool(found.isfinite().all() and found.norm() > 0):
            return {"value": float(value), "note": "its gradient is 0 or not finite on this batch"}
        seen: dict[str, Any] = {"value": float(value), "cosine": _cosine(found, reference)}
        if took * (self.draws + 2 * _DIRECTIONS + 2) > self.patience:
            note = f"not redrawn: one gradient takes {took:.2g} s, patience={self.patience:g}"
            return {**seen, "milliseconds": 1e3 * took, "note": note}
        seen["megabytes"] = PriceTag.memory(lambda: subject.gradient(bench, part))
        seen["own_cosine"] = subject.own_cosine(part, found)
        drawn, times = [], [took]
        for draw in range(self.draws):
            again = partial(subject.gradient, bench.redrawn(stream(self.seed, "draw", draw)), part)
            (_, one), took = PriceTag.timed(again, device)
            drawn.append(one)
            times.append(took)
        gradients = torch.stack(drawn)
        size = gradients.mean(dim=0).square().sum()
        cosines = torch.tensor([_cosine(one, reference) for one in gradients], dtype=torch.float32)
        seen["noise"] = float(gradients.var(dim=0).sum() / size) if bool(size > 0) else None
        seen["cosine_error"] = float(cosines.std())
        seen["milliseconds"] = 1e3 * float(torch.tensor(times, dtype=torch.float32).median())
        return seen


@final
@dataclass(frozen=True)
class _Subject:
    """A part that is measured, and how its gradient is taken on a bench."""

    family: Literal["layers", "hypergrad"]
    name: str
    make: Callable[[], Any]
    gradient: Callable[[Bench, Any], tuple[Tensor, Tensor]]  # value and gradient
    own_cosine: Callable[[Any, Tensor], float | None] = lambda *_: None


def _parts(registry: Registry[Any], given: Mapping[str, Any]) -> dict[str, Callable[[], Any]]:
    """Return what makes each part: registered ones by their defaults, given ones as they are."""

    def made(name: str) -> Callable[[], Any]:
        return lambda: given[name] if name in given else registry.make(name)

    return {name: made(name) for name in dict.fromkeys((*registry, *given))}


def _differences(
    loss: Callable[[Tensor], Tensor], weight: Tensor, along: Tensor, step: float
) -> Tensor:
    """Return central differences of a loss along directions ``(K, D * M)``. Shape ``(K,)``."""
    directions = along.to(weight).reshape(-1, *weight.shape)
    moved = [loss(weight + step * one) - loss(weight - step * one) for one in directions]
    return torch.stack(moved) / (2 * step)


def _cosine(left: Tensor, right: Tensor) -> float:
    """Return the cosine; 0 where one of them is 0."""
    size = left.norm() * right.norm()
    return float(left @ right / size) if bool(size > 0) else 0.0
