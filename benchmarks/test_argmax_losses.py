"""Losses and layers over any solver, beside PyEPO's on PyEPO's own problems.

Off by default. Run with ``pytest benchmarks/test_argmax_losses.py --benchmark-only``. Timed is one
forward and backward pass of a batch of 32, ours and theirs in turn within one test. Both sides call
the same OR-tools model as often, which the test counts; for the timing the model then gives an
answer that was recorded, as the solver's own time varies by more than the overhead that is sought.
``extra_info`` holds the overhead of both sides in microseconds (median processor time of a step,
less that of the bare calls of the model) and their ratio.
"""

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from dfl.layers import ImplicitMleDecision, InterpolatedDecision, PerturbedDecision, each_row
from dfl.losses import fenchel_young, spo_plus

pyepo = pytest.importorskip("pyepo", reason="the peer of this benchmark is not installed")
ort = pytest.importorskip("pyepo.model.ort", reason="PyEPO's models need OR-tools")

BATCH, DRAWS, ROUNDS = 32, 10, 200
LOSSES = ["perturbed", "fenchel-young", "blackbox", "implicit-mle", "spo-plus"]


class Recorded:
    """A PyEPO model that counts its solves, and can go on with one answer for all."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.calls = 0
        self._solve = model.solve
        model.solve = self._counted

    def _counted(self) -> Any:
        self.calls += 1
        return self._solve()

    def repeat(self, row: Any) -> None:
        """Answer from now on what the solver says for this objective."""
        self.model._setFullObj(row)
        answer = self._solve()
        self.model._setFullObj = lambda _: None
        self.model.solve = lambda: answer

    def bare_calls(self, row: Any) -> None:
        """Call the model as often as a step did."""
        for _ in range(self.calls):
            self.model._setFullObj(row)
            self.model.solve()


def make(problem: str) -> tuple[Recorded, Tensor, Tensor]:
    """Model, predicted and true objective, as PyEPO's own generators make them."""
    if problem == "shortest-path":
        recorded = Recorded(ort.shortestPathModel((5, 5)))
        _, costs = pyepo.data.shortestpath.genData(BATCH, 5, (5, 5), deg=4, seed=135)
    else:
        weights, _, costs = pyepo.data.knapsack.genData(BATCH, 5, 32, dim=2, deg=4, seed=135)
        recorded = Recorded(ort.knapsackModel(weights, capacity=[20.0, 20.0]).relax())
    truth = torch.as_tensor(costs, dtype=torch.float32)
    noise = torch.rand(truth.shape, generator=torch.Generator().manual_seed(0))
    return recorded, truth * (0.5 + noise), truth


def solved(recorded: Recorded, costs: Tensor) -> tuple[Tensor, Tensor]:
    """Best decisions of the true objective, and what they are worth."""

    def solve(row: Any) -> Any:
        recorded.model._setFullObj(row)
        return recorded.model.solve()[0]

    decisions = each_row(solve)(costs)
    return decisions, (costs * decisions).sum(dim=1, keepdim=True)


def ours(loss: str, recorded: Recorded, truth: Tensor, best: Tensor) -> Callable[[Tensor], Tensor]:
    """Build our loss; we maximise, so a cost is turned into minus a value."""
    sign = -1.0 if recorded.model.modelSense == pyepo.EPO.MINIMIZE else 1.0

    def solve(row: Any) -> Any:
        recorded.model._setFullObj(row)
        return recorded.model.solve()[0]

    rows = each_row(solve)

    def argmax(values: Tensor) -> Tensor:
        return rows(sign * values)

    if loss == "spo-plus":
        return lambda costs: spo_plus(sign * costs, sign * truth, argmax, decision=best).mean()
    if loss == "fenchel-young":
        smooth = PerturbedDecision(argmax, samples=DRAWS)
        return lambda costs: fenchel_young(sign * costs, best, smooth.maximum).mean()
    layers = {
        "perturbed": lambda: PerturbedDecision(argmax, samples=DRAWS),
        "blackbox": lambda: InterpolatedDecision(argmax, strength=10.0, scale="absolute"),
        "implicit-mle": lambda: ImplicitMleDecision(
            argmax, subset=5, samples=DRAWS, strength=10.0, scale="absolute"
        ),
    }
    layer = layers[loss]()
    return lambda costs: (layer(sign * costs) - best).square().mean()


def theirs(
    loss: str, recorded: Recorded, truth: Tensor, best: Tensor
) -> Callable[[Tensor], Tensor]:
    """Build the same loss of PyEPO, with the same options."""
    func, model = pyepo.func, recorded.model
    if loss == "spo-plus":
        module, worth = func.SPOPlus(model, processes=1), (truth * best).sum(dim=1, keepdim=True)
        return lambda costs: module(costs, truth, best, worth)
    if loss == "fenchel-young":
        module = func.perturbedFenchelYoung(model, n_samples=DRAWS, sigma=1.0, processes=1)
        return lambda costs: module(costs, best)
    layers = {
        "perturbed": lambda: func.perturbedOpt(model, n_samples=DRAWS, sigma=1.0, processes=1),
        "blackbox": lambda: func.blackboxOpt(model, lambd=10, processes=1),
        "implicit-mle": lambda: func.implicitMLE(model, n_samples=DRAWS, lambd=10, processes=1),
    }
    layer = layers[loss]()
    return lambda costs: (layer(costs) - best).square().mean()


def microseconds(run: Callable[[], object]) -> float:
    """Return the processor time of one run."""
    start = time.process_time_ns()
    run()
    return (time.process_time_ns() - start) / 1e3


@pytest.mark.parametrize("problem", ["shortest-path", "knapsack"])
@pytest.mark.parametrize("loss", LOSSES)
def test_overhead(benchmark: BenchmarkFixture, loss: str, problem: str) -> None:
    benchmark.group = f"{loss} on {problem}"
    recorded, predicted, truth = make(problem)
    best, _ = solved(recorded, truth)
    losses = {"dfl": ours, "pyepo": theirs}
    losses = {side: make(loss, recorded, truth, best) for side, make in losses.items()}

    def step(side: str) -> None:
        costs = predicted.clone().requires_grad_()
        losses[side](costs).backward()
        assert costs.grad is not None

    calls = {}
    for side in losses:
        recorded.calls = 0
        step(side)
        calls[side] = recorded.calls
    assert len(set(calls.values())) == 1
    recorded.repeat(truth[0].numpy())
    runs = {side: partial(step, side) for side in losses}
    runs["solver"] = partial(recorded.bare_calls, truth[0].numpy())
    times: dict[str, list[float]] = {name: [] for name in runs}

    def round_of_all() -> None:
        for name, run in runs.items():
            times[name].append(microseconds(run))

    benchmark.pedantic(round_of_all, rounds=ROUNDS, warmup_rounds=10)
    alone = {name: median(each[10:]) for name, each in times.items()}
    above = {side: alone[side] - alone["solver"] for side in losses}
    benchmark.extra_info.update(
        overhead_us=above, overhead_ratio=above["dfl"] / above["pyepo"],
        solver_calls=recorded.calls, batch=BATCH, draws=DRAWS, torch=torch.__version__,
    )  # fmt: skip
