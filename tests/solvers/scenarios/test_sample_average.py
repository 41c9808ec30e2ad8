"""Limits of sample averages against the truth, which a finite population of scenarios has."""

from itertools import product

import pytest
import torch

from dfl.errors import InfeasibleBudgetError, InvalidValueError
from dfl.problem import ScenarioProblem
from dfl.seeds import stream
from dfl.solvers import Stochastic
from dfl.solvers.scenarios import AbstractFormulation, MeanRisk, SimpleRecourse, WorstCase
from dfl.solvers.scenarios.sample_average import Draw, sample_average


def population(seed: int) -> ScenarioProblem:
    """Return 2,000 equally likely scenarios of five segments with a common shock of cost."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.rand(2, 5, 3, generator=generator, dtype=torch.float64).cumsum(2)
    shape = (2_000, 5, 3)
    noise = torch.randn(2, *shape, generator=generator, dtype=torch.float64).mul(0.3).exp()
    shock = torch.randn(2_000, 1, 1, generator=generator, dtype=torch.float64).mul(0.4).exp()
    cost = size[0] * noise[0] * shock * (torch.arange(3) > 0)
    return ScenarioProblem(2 * size[1] * noise[1], cost, 0.4 * float(cost.mean(0).amax(1).sum()))


def sampler(whole: ScenarioProblem) -> Draw:
    def draw(count: int, generator: torch.Generator) -> ScenarioProblem:
        own = torch.randint(whole.scenarios, (count,), generator=generator)
        return ScenarioProblem(whole.revenue[own], whole.cost[own], whole.budget)

    return draw


def truth(whole: ScenarioProblem, formulation: AbstractFormulation) -> tuple[torch.Tensor, float]:
    """Return the objective of every choice, -inf where it is not allowed, and the best."""
    every = torch.tensor(list(product(range(3), repeat=5)))
    revenue, cost = whole.totals(every)
    value = formulation.value(revenue, cost, whole)
    value = value.masked_fill(~formulation.allows(cost, whole), -torch.inf)
    return value, float(value.max())


def test_the_upper_limit_is_students_of_the_replications() -> None:
    whole, solver = population(0), Stochastic(formulation=SimpleRecourse(penalty=2))
    draw = sampler(whole)
    found = sample_average(
        draw, solver, scenarios=20, replications=4, judged=400, level=0.95, seed=3
    )
    samples = [draw(20, stream(3, "replication", number)) for number in range(4)]
    bounds = torch.tensor([solver.solve_scenarios(one).upper_bound for one in samples])
    # 2.3534: 95 % quantile of Student's t with 3 degrees of freedom
    assert found.upper == pytest.approx(float(bounds.mean() + 2.3534 * bounds.std() / 2), rel=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_the_limits_hold_the_truth_between_them(seed: int) -> None:
    whole, formulation = population(seed), SimpleRecourse(penalty=2)
    found = sample_average(
        sampler(whole),
        Stochastic(formulation=formulation),
        scenarios=40,
        replications=8,
        judged=4_000,
        level=0.99,
        seed=seed,
    )
    _, best = truth(whole, formulation)
    own = float(formulation.value(*whole.totals(found.choice), whole))
    assert found.lower <= own <= best * (1 + 1e-12)
    assert best <= found.upper
    assert found.gap == found.upper - found.lower
    assert own >= 0.97 * best


def test_a_value_that_is_no_mean_has_an_error_too() -> None:
    whole, formulation = population(3), MeanRisk(aversion=0.5, tail=0.2)
    found = sample_average(
        sampler(whole), Stochastic(formulation=formulation), scenarios=40, judged=4_000
    )
    own = float(formulation.value(*whole.totals(found.choice), whole))
    assert found.lower < found.value
    assert found.value == pytest.approx(own, rel=0.02)
    assert 0 < found.violation < 1


def test_choices_that_fail_elsewhere_are_not_passed_off() -> None:
    whole = population(1)

    def draw(count: int, generator: torch.Generator) -> ScenarioProblem:
        drawn = sampler(whole)(count, generator)
        return ScenarioProblem(drawn.revenue, drawn.cost + (count > 2), drawn.budget)

    with pytest.raises(InfeasibleBudgetError, match="on 5000 other scenarios"):
        sample_average(draw, Stochastic(formulation=WorstCase()), scenarios=2)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"scenarios": 0}, "scenarios must be >= 1"),
        ({"replications": 1}, "replications must be >= 2"),
        ({"judged": 10}, "judged must be >= 200"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, int], match: str) -> None:
    with pytest.raises(InvalidValueError, match=match):
        sample_average(sampler(population(0)), Stochastic(), **options)  # type: ignore[arg-type]
