"""Plans: golden choices without uncertainty; what uncertainty does; grids of budgets."""

from dataclasses import replace

import pytest
import torch

from dfl.errors import InvalidValueError
from dfl.segments.plan import Planning
from dfl.segments.uncertainty import Uncertainty
from dfl.solvers import Stochastic
from dfl.solvers.scenarios import ChanceConstraint, WorstCase
from tests.segments.made import SURE, plan, table


def test_the_golden_plan() -> None:
    found = plan()
    assert found.choice.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 2], [1, 2, 2]]
    assert found.revenue.tolist() == pytest.approx([0.72, 0.74, 0.83, 0.91, 1.005])
    assert found.violation.tolist() == [0] * 5
    assert [found.level(budget) for budget in (0, 0.02, 0.039, 5)] == [0, 1, 1, 4]
    with pytest.raises(InvalidValueError, match="at least the plan's smallest"):
        found.level(-0.1)
    with pytest.raises(InvalidValueError, match=r"budgets must rise, got \[0.2, "):
        replace(found, budgets=found.budgets.flip(0))
    with pytest.raises(InvalidValueError, match="solver must be an instance of Stochastic"):
        Planning(solver="stochastic")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="uncertainty must be an instance of Uncertainty"):
        Planning(uncertainty="none")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="budget must be a number, got 'much'"):
        found.level("much")  # type: ignore[arg-type]


def test_nested_plans_never_take_back() -> None:
    found = plan(Uncertainty(traffic=0.2, redemption=0.3), nested=True)
    assert bool((found.choice.diff(dim=0) >= 0).all())


def test_a_chance_is_kept_and_the_worst_case_spends_less() -> None:
    law = Uncertainty(traffic=0.1, redemption=0.3)
    plain = plan(law)
    for formulation, most in ((ChanceConstraint(risk=0.1), 0.1), (WorstCase(), 0.0)):
        found = plan(law, solver=Stochastic(formulation=formulation))
        assert float(found.violation.max()) <= most + 1e-9
        assert bool((found.cost <= plain.cost + 1e-9).all())
    assert float(plain.violation.max()) > 0.1


def test_scenarios_have_the_means_and_spreads_of_the_table() -> None:
    law = Uncertainty(traffic=0.2, redemption=0.3)
    drawn = law.draw(table(), 100.0, 5.0, 40_000, torch.Generator().manual_seed(0))
    share = 100 * table().share[:, None]
    mean = drawn.revenue.mean(dim=0)
    torch.testing.assert_close(mean, share * table().revenue, rtol=0.01, atol=0.05)
    torch.testing.assert_close(drawn.cost.mean(0), share * table().cost, rtol=0.02, atol=0.02)
    heads = drawn.revenue[:, 1, 2] / drawn.revenue[:, 1, 2].mean()
    assert float(heads.std()) == pytest.approx(0.21, abs=0.01)
    together = torch.corrcoef(drawn.cost[:, :, 2].T)
    assert float(together[0, 1]) > 0.5
    assert bool((drawn.cost >= 0).all())
    sure = SURE.draw(table(), 100.0, 5.0, 3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(sure.revenue[2], share * table().revenue)


def test_the_grid_goes_from_the_cheapest_to_the_dearest() -> None:
    planning = Planning(uncertainty=SURE)
    grid = planning.grid(table(), 5, seed=0)
    assert grid[0] == 0
    assert grid[-1] == pytest.approx(0.5 * 0.2 + 0.3 * 0.26 + 0.2 * 0.22)
    with pytest.raises(InvalidValueError, match="levels must be >= 2"):
        planning.grid(table(), 1, seed=0)
    flat = replace(table(), cost=torch.ones(3, 3).double())
    with pytest.raises(InvalidValueError, match="the dearest choice less the cheapest must be > 0"):
        planning.grid(flat, 3, seed=0)


def test_the_smallest_budget_of_a_grid_holds_in_every_scenario() -> None:
    dear = replace(table(), cost=table().cost + 1)
    worst = Planning(solver=Stochastic(formulation=WorstCase()))
    grid = worst.grid(dear, 3, seed=4)
    found = worst.plan(dear, grid, seed=4)
    assert found.choice[0].tolist() == [0, 0, 0]
    assert found.violation.tolist() == [0, 0, 0]


def test_the_largest_budget_of_a_grid_buys_the_dearest_choice() -> None:
    planning = Planning(uncertainty=Uncertainty(redemption=0.3), scenarios=20)
    for seed in range(5):
        found = planning.plan(table(), planning.grid(table(), 3, seed=seed), seed=seed)
        assert found.choice[-1].tolist() == [2, 2, 2]


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="traffic must be >= 0"):
        Uncertainty(traffic=-1)
    with pytest.raises(InvalidValueError, match="redemption must be >= 0"):
        Uncertainty(redemption=-1)
    with pytest.raises(InvalidValueError, match="scenarios must be >= 1"):
        Planning(scenarios=0)
    with pytest.raises(InvalidValueError, match="people must be > 0"):
        SURE.draw(table(), 0, 1.0, 1, torch.Generator())
