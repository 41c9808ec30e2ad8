"""The decision loss on randomised rows: at which price of money, and what is said of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.budget import Budget
from dfl.errors import UnsupportedProblemError
from dfl.layers import AtPrice, LinearProgram, PerturbedArgmax, Price, Softmax
from dfl.losses import AbstractDecisionLoss, DualPolicy, MarginalUtility, PrimalPolicy, SpoPlus
from dfl.models import MLP, Parameters, Scaling
from dfl.problem import Allocation, AllocationProblem, ObservedCost
from dfl.solvers import AbstractSolver, DualBisection
from dfl.training import decision_level
from dfl.training.decision_level import BUDGETS, DecisionLevel, PriceFrom
from dfl.training.networks import NetworkPlan, Networks
from dfl.training.rows import RowPool
from dfl.training.settings import TrainingSet
from tests.methods.toy import logs

TWO = (Budget(share=0.3), Budget(share=0.8))


def networks_of(added_cost: float) -> tuple[Networks, RowPool, Parameters]:
    rows = {seed: logs(600, seed=seed) for seed in (3, 4)}
    sets = [
        TrainingSet(rct=replace(one, cost=one.cost + added_cost), seed=seed)
        for seed, one in rows.items()
    ]
    plan = NetworkPlan.of(sets, 2, [[0.0], [0.0]])
    networks = Networks(sets, [Scaling.fit(*one.parts) for one in sets], plan, MLP((4,)), "")
    pool = networks.pool(lambda one: one.rows("rct"))
    return networks, pool, networks.initial(networks.stacked, "test")


def level_of(
    price: PriceFrom,
    budgets: Sequence[Budget] = TWO,
    loss: AbstractDecisionLoss | None = None,
    added_cost: float = 0.0,
) -> tuple[DecisionLevel, Networks, RowPool, Parameters]:
    networks, pool, parameters = networks_of(added_cost)
    level = DecisionLevel(networks, loss or PrimalPolicy(), budgets, pool, price)
    return level, networks, pool, parameters


def batch_of(networks: Networks, pool: RowPool, size: int) -> Any:
    generators = networks.generators("batch", 0)
    return next(iter(pool.epoch(networks.plan.dataset, generators, batch_size=size)))


def predicted(networks: Networks, parameters: Parameters, batch: Any) -> Tensor:
    return networks.stacked(parameters, batch.features)


def test_the_price_of_an_epoch_is_that_of_all_rows_of_each_networks_set() -> None:
    level, networks, pool, parameters = level_of("rows")
    level.start_epoch(parameters)
    batch = batch_of(networks, pool, 64)
    found = level(predicted(networks, parameters, batch), batch)
    expected = []
    for k, dataset in enumerate(networks.plan.dataset):
        one, scaling = networks.sets[dataset].rct, networks.scalings[dataset]
        assert one is not None
        own = {name: value[k : k + 1] for name, value in parameters.items()}
        revenue, cost = scaling.currency(networks.stacked(own, scaling.standardise(one.features)))
        observed = ObservedCost(one.treatment, one.cost, one.weight).self_normalised()
        ends = torch.stack([one.cost[one.treatment == arm].mean() for arm in range(3)])
        values = []
        for share in (0.3, 0.8):
            money = float(ends.min() + share * (ends.max() - ends.min())) * len(one)
            problem = AllocationProblem(revenue[0], cost[0], money, observed=observed)
            multiplier = DualBisection(on_infeasible="least-spend").solve(problem).multiplier
            fixed = PrimalPolicy(layer=Softmax(price=Price(multiplier=float(multiplier))))
            mine = networks.stacked(own, batch.features[k : k + 1])
            values.append(fixed(*scaling.currency(mine[0]), one_of(batch, k), 0.0))
        expected.append(torch.stack(values).mean() / scaling.revenue_scale)
    assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-5)
    assert level.logs()["budgets_unmet"] == 0
    assert level.logs()["price"] > 0


def one_of(batch: Any, network: int) -> Any:
    logged = batch.logged
    columns = (logged.treatment, logged.revenue, logged.cost, logged.weight)
    return type(logged)(*(column[network] for column in columns))


@final
@dataclass(frozen=True, eq=False)
class Doubled(AbstractSolver):
    """Finds twice the price."""

    def solve(self, problem: AllocationProblem) -> Allocation:
        found = DualBisection(on_infeasible="least-spend").solve(problem)
        return replace(found, multiplier=2 * found.multiplier)


OWN = Price(solver=Doubled())


@pytest.mark.parametrize(
    ("plain", "own"),
    [
        (PrimalPolicy(), PrimalPolicy(layer=Softmax(price=OWN))),
        (PrimalPolicy(layer=PerturbedArgmax()), PrimalPolicy(layer=PerturbedArgmax(price=OWN))),
        (SpoPlus(), SpoPlus(price=OWN)),
    ],
)
def test_the_price_of_an_epoch_is_found_by_the_solver_of_the_loss_or_its_layer(
    plain: AbstractDecisionLoss, own: AbstractDecisionLoss
) -> None:
    prices = []
    for loss in (plain, own):
        level, _, _, parameters = level_of("rows", loss=loss)
        level.start_epoch(parameters)
        prices.append(level.logs()["price"])
    assert prices[0] > 0
    assert prices[1] == pytest.approx(2 * prices[0])


def test_over_rows_of_several_processes_another_solver_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decision_level, "rows_apart", lambda: True)
    level_of("rows")
    with pytest.raises(UnsupportedProblemError, match="by dual-bisection alone, got Doubled"):
        level_of("rows", loss=SpoPlus(price=OWN))


def test_on_a_batch_of_all_rows_both_prices_are_the_same() -> None:
    losses = []
    for price in ("rows", "batch"):
        level, networks, pool, parameters = level_of(price)  # type: ignore[arg-type]  # literals
        level.start_epoch(parameters)
        batch = batch_of(networks, pool, 600)
        losses.append(level(predicted(networks, parameters, batch), batch))
    assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-5)


def test_batches_in_which_no_price_meets_the_budget_are_counted() -> None:
    level, networks, pool, parameters = level_of("batch", (Budget(per_head=0.5),), added_cost=1.0)
    level.start_epoch(parameters)
    for size in (64, 600):
        batch = batch_of(networks, pool, size)
        level(predicted(networks, parameters, batch), batch)
    assert level.logs() == {"budgets_unmet": 1.0}
    level.start_epoch(parameters)
    assert level.logs() == {}


def test_a_loss_that_decides_at_no_price_keeps_the_money() -> None:
    for loss in (MarginalUtility(), PrimalPolicy(layer=Softmax(price=Price(met_by="shares")))):
        level, networks, pool, parameters = level_of("rows", loss=loss)
        level.start_epoch(parameters)
        batch = batch_of(networks, pool, 128)
        outcomes = predicted(networks, parameters, batch)
        assert_close(level(outcomes, batch), level.within(outcomes, batch))
        assert "price" not in level.logs()


def test_a_loss_without_a_budget_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    called, whole = [], DualPolicy.__call__

    def counted(loss: DualPolicy, *given: Any) -> Tensor:
        called.append(given)
        return whole(loss, *given)

    monkeypatch.setattr(DualPolicy, "__call__", counted)
    level, networks, pool, parameters = level_of("rows", BUDGETS, DualPolicy())
    level.start_epoch(parameters)
    batch = batch_of(networks, pool, 128)
    level(predicted(networks, parameters, batch), batch)
    assert len(called) == 1


def test_a_price_stands_in_for_money_where_layers_decide_at_one() -> None:
    generator = torch.Generator().manual_seed(0)
    revenue, cost = torch.rand(2, 2, 30, 3, generator=generator)
    prices = torch.tensor([0.4, 0.7])
    shares, multiplier = Softmax()(revenue, cost, AtPrice(prices))
    assert_close(multiplier, prices)
    for k in range(2):
        fixed = Softmax(price=Price(multiplier=float(prices[k])))
        assert_close(shares[k], fixed(revenue[k], cost[k], 0.0).shares)
    assert Softmax().decides_at_price
    assert not Softmax(price=Price(multiplier=1.0)).decides_at_price
    assert not LinearProgram().decides_at_price


def test_the_default_budgets_cover_the_range() -> None:
    assert [budget.share for budget in BUDGETS] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])


def test_a_loss_without_a_price_counts_no_budget_as_unmet() -> None:
    level, networks, pool, parameters = level_of("batch", loss=MarginalUtility(), added_cost=1.0)
    level.start_epoch(parameters)
    batch = batch_of(networks, pool, 128)
    level(predicted(networks, parameters, batch), batch)
    assert level.logs() == {}
