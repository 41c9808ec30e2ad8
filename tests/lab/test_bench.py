from dataclasses import replace

import torch
from torch.testing import assert_close

from dfl import Budget
from dfl.data import UpliftData
from dfl.hypergrad import Exact
from dfl.lab.bench import Bench
from dfl.layers import StraightThrough
from tests.methods.toy import ARMS, logs


def test_the_model_is_the_minimum_of_the_inner_loss(batch: UpliftData) -> None:
    bench = Bench.of(batch, Budget(share=0.3))
    shape = bench.weight[:-1].shape
    penalty = torch.randn(shape, generator=torch.Generator().manual_seed(0)).double()
    weight = bench.fitted(penalty).requires_grad_()
    loss = bench.inner_loss({"weight": weight}, {"log_penalty": penalty})
    (slope,) = torch.autograd.grad(loss, weight)
    assert_close(slope, torch.zeros_like(slope), atol=1e-12, rtol=0)


def test_the_reference_hypergradient_is_that_of_fitting_anew(batch: UpliftData) -> None:
    bench = Bench.of(batch, Budget(share=0.3))
    lower, upper = bench.halves(torch.Generator().manual_seed(0))
    penalty = torch.full_like(bench.weight[:-1], -1.0)

    def value(at: torch.Tensor) -> torch.Tensor:
        return upper.outer_loss({"weight": lower.fitted(at)}, {})

    inner = {"weight": lower.fitted(penalty)}
    exact = Exact()(lower.inner_loss, upper.outer_loss, inner, {"log_penalty": penalty})
    step = 1e-4
    for row, column in ((0, 0), (2, 1), (3, 2)):
        move = torch.zeros_like(penalty)
        move[row, column] = step
        slope = (value(penalty + move) - value(penalty - move)) / (2 * step)
        found = exact.outer_grad["log_penalty"][row, column]
        assert_close(found, slope, rtol=1e-4, atol=1e-8)


def test_what_everyone_brings_anyway_moves_no_effect() -> None:
    plain = logs(240, dtype=torch.float64)
    lifted = replace(plain, revenue=plain.revenue + 1_000)
    weight, moved = (Bench.of(one, Budget(share=0.3)).weight for one in (plain, lifted))
    assert_close(moved[:-1], weight[:-1], rtol=1e-6, atol=1e-9)
    assert_close(moved[-1], weight[-1] + 1_000)


def test_the_cost_of_treatments_is_that_of_everyone() -> None:
    plain = logs(240)
    first = (plain.features[:, 0] > 0).float()
    chance = torch.stack([0.2 + 0.4 * first, *[0.4 - 0.2 * first] * 2], dim=1)
    rows = replace(plain, propensity=chance, cost=1 + first)
    cost = Bench.of(rows, Budget(share=0.3)).cost
    weight = rows.weight.double()
    for arm in range(ARMS):
        own = rows.treatment == arm
        assert_close(cost[arm], (weight * rows.cost.double())[own].sum() / weight[own].sum())


def test_the_hard_loss_is_the_loss_of_a_hard_layer(batch: UpliftData) -> None:
    bench = Bench.of(batch, Budget(share=0.3))
    assert_close(bench.loss_of(StraightThrough())(bench.weight), bench.hard_loss(bench.weight))


def test_halves_and_redraws_keep_the_arms(batch: UpliftData) -> None:
    bench = Bench.of(batch, Budget(share=0.3))
    halves = bench.halves(torch.Generator().manual_seed(0))
    assert sum(len(half.data) for half in halves) == len(batch)
    counts = [half.data.arm_counts for half in halves]
    assert int((counts[0] - counts[1]).abs().max()) <= 1
    again = bench.redrawn(torch.Generator().manual_seed(0))
    assert again.data.arm_counts.tolist() == batch.arm_counts.tolist()
    assert again.money == bench.money


def test_many_features_become_sixteen_components() -> None:
    rows = logs(200)
    features = torch.randn(200, 40, generator=torch.Generator().manual_seed(0))
    features[:, 3] = 1.0  # says nothing
    wide = UpliftData(features, rows.treatment, rows.revenue, rows.cost, ARMS, "rct")
    bench = Bench.of(wide, Budget(share=0.3))
    assert bench.weight.shape == (17, ARMS)
    assert features[:, 3].unique().tolist() == [1.0]
