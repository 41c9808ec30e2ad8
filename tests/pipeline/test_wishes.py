"""Plans against every plan there is, on a handful of people."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from dfl.errors import (
    DTypeError,
    InfeasibleProblemError,
    InvalidValueError,
    NotConvergedError,
    ShapeError,
)
from dfl.pipeline import Limit, Plan, Wishes
from dfl.solvers import MixedInteger

PEOPLE, ARMS = 6, 3
Allowed = Callable[[Tensor], bool]


def people(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    cost = torch.rand(PEOPLE, ARMS, generator=generator, dtype=torch.float64).cumsum(1)
    cost[:, 0] = 0
    return torch.rand(PEOPLE, ARMS, generator=generator, dtype=torch.float64).cumsum(1), cost


def every() -> Iterator[Tensor]:
    for choice in itertools.product(range(ARMS), repeat=PEOPLE):
        yield torch.tensor(choice)


def total(amount: Tensor, choice: Tensor) -> float:
    return float(amount[torch.arange(PEOPLE), choice].sum())


def best(goal: Tensor, allowed: Allowed) -> float:
    return max(total(goal, choice) for choice in every() if allowed(choice))


def check(plan: Plan, goal: Tensor, truth: float, allowed: Allowed, *, exact: bool) -> None:
    """A plan keeps the limits, says what it is worth, and its bound is one."""
    assert allowed(plan.choice)
    assert plan.goal == pytest.approx(total(goal, plan.choice))
    assert plan.goal <= truth + 1e-9
    assert truth <= plan.bound + 1e-9
    assert plan.gap >= truth - plan.goal - 1e-9
    if exact:
        assert plan.goal == pytest.approx(truth)
        assert plan.gap == pytest.approx(0, abs=1e-7)


LAST = torch.tensor([0, 1, 2, 1, 0, -1])
MOVED = ((LAST[:, None] != torch.arange(ARMS)) & (LAST >= 0)[:, None]).double()
ALLOWED = torch.ones(PEOPLE, ARMS, dtype=torch.bool)
ALLOWED[0, 1] = ALLOWED[2, 2] = False
PINNED = torch.tensor([-1, 2, -1, -1, 0, -1])
NORTH = torch.tensor([1.0, 1, 1, 0, 0, 0], dtype=torch.float64)[:, None]
CASES: dict[str, dict[str, Any]] = {
    "a budget": {"budget": 2.0},
    "a mask": {"budget": 2.0, "allowed": ALLOWED},
    "frozen decisions": {"budget": 3.0, "pinned": PINNED},
    "a capacity": {"budget": 3.0, "capacity": torch.tensor([torch.inf, torch.inf, 1])},
    "a capacity alone": {"marginal_return": 0.2, "capacity": torch.tensor([torch.inf, 2, 1])},
    "a floor": {"budget": 4.0, "at_least": torch.tensor([0, 0, 3])},
    "floors with a mask and a capacity": {
        "budget": 4.0,
        "at_least": torch.tensor([1, 2, 0]),
        "allowed": ALLOWED,
        "capacity": torch.tensor([torch.inf, torch.inf, 1]),
    },
    "a target with a floor": {"target_revenue": 4.0, "at_least": torch.tensor([0, 3, 0])},
    "a marginal return": {"marginal_return": 0.7},
    "a marginal return within a budget": {"marginal_return": 0.4, "budget": 2.0},
    "a least return": {"budget": 4.0, "min_return": 1.5},
    "a target": {"target_revenue": 5.0},
    "a target with a mask": {"target_revenue": 4.0, "allowed": ALLOWED},
    "a target with capacity": {
        "target_revenue": 4.5,
        "capacity": torch.tensor([torch.inf, torch.inf, 1]),
    },
    "switching that costs": {"budget": 3.0, "last": LAST, "switching_cost": 0.2},
    "few changes": {"budget": 3.0, "last": LAST, "max_changes": 2},
    "a target with switching": {"target_revenue": 5.0, "last": LAST, "switching_cost": 0.3},
    "everything": {
        "budget": 3.5,
        "allowed": ALLOWED,
        "pinned": PINNED,
        "last": LAST,
        "switching_cost": 0.1,
        "max_changes": 4,
        "capacity": torch.tensor([torch.inf, torch.inf, 2]),
    },
}


def goal_of(asked: dict[str, Any], revenue: Tensor, cost: Tensor) -> Tensor:
    switching = asked.get("switching_cost", 0.0) * MOVED
    if "target_revenue" in asked:
        return -cost - switching
    return revenue - asked.get("marginal_return", 0.0) * cost - switching


def rule_of(asked: dict[str, Any], revenue: Tensor, cost: Tensor) -> Allowed:
    def allowed(choice: Tensor) -> bool:
        counts = choice.bincount(minlength=ARMS)
        free = asked.get("pinned", torch.full((PEOPLE,), -1))
        spent, earned = total(cost, choice), total(revenue, choice)
        return bool(
            spent <= asked.get("budget", torch.inf) + 1e-8
            and earned >= asked.get("target_revenue", -torch.inf) - 1e-8
            and ("min_return" not in asked or earned >= asked["min_return"] * spent - 1e-8)
            and (counts <= asked.get("capacity", torch.inf)).all()
            and (counts >= asked.get("at_least", 0)).all()
            and total(MOVED, choice) <= asked.get("max_changes", PEOPLE)
            and asked.get("allowed", ALLOWED | True)[torch.arange(PEOPLE), choice].all()
            and ((free < 0) | (free == choice)).all()
        )

    return allowed


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CASES)
def test_the_exact_solver_finds_the_best_of_all_plans(name: str, seed: int) -> None:
    asked, (revenue, cost) = CASES[name], people(seed)
    goal, allowed = goal_of(asked, revenue, cost), rule_of(asked, revenue, cost)
    truth = best(goal, allowed)
    plan = Wishes(**asked).solve(revenue, cost, MixedInteger())
    check(plan, goal, truth, allowed, exact=True)
    assert plan.revenue == pytest.approx(total(revenue, plan.choice))
    assert plan.cost == pytest.approx(total(cost, plan.choice))
    if "last" in asked:
        assert plan.changes == total(MOVED, plan.choice)


@pytest.mark.parametrize("name", CASES)
def test_the_usual_solver_is_within_its_bound(name: str) -> None:
    asked, (revenue, cost) = CASES[name], people(0)
    goal, allowed = goal_of(asked, revenue, cost), rule_of(asked, revenue, cost)
    plan = Wishes(**asked).solve(revenue, cost)
    check(plan, goal, best(goal, allowed), allowed, exact=False)


def test_money_of_groups_and_a_total_together() -> None:
    revenue, cost = people(4)
    north, south = Limit("north", cost * NORTH, 1.0), Limit("south", cost * (1 - NORTH), 1.5)

    def allowed(choice: Tensor) -> bool:
        spent = [total(one.use, choice) <= one.at_most + 1e-8 for one in (north, south)]
        return all(spent) and total(cost, choice) <= 2.0 + 1e-8

    plan = Wishes(budget=2.0, limits=(north, south)).solve(revenue, cost, MixedInteger())
    check(plan, revenue, best(revenue, allowed), allowed, exact=True)
    assert [one.name for one in plan.used] == ["money", "north", "south"]
    assert sum(one.used for one in plan.used[1:]) == pytest.approx(plan.used[0].used)


def test_many_people_and_several_limits_are_near_the_bound() -> None:
    generator = torch.Generator().manual_seed(0)
    cost = torch.rand(4000, 3, generator=generator, dtype=torch.float64).cumsum(1)
    cost[:, 0] = 0
    revenue = 2 * cost.sqrt() * torch.rand(4000, 1, generator=generator, dtype=torch.float64)
    last = torch.randint(3, (4000,), generator=generator)
    wishes = Wishes(
        budget=1500.0,
        last=last,
        max_changes=1500,
        switching_cost=0.01,
        capacity=torch.tensor([torch.inf, torch.inf, 500.0]),
    )
    plan = wishes.solve(revenue, cost)
    assert plan.gap < 1e-3 * plan.bound
    assert plan.changes is not None
    assert plan.changes <= 1500
    assert int((plan.choice == 2).sum()) <= 500
    target = Wishes(target_revenue=plan.revenue).solve(revenue, cost)
    assert target.revenue >= plan.revenue * (1 - 1e-9)
    assert target.cost <= plan.cost  # the same revenue, without the other limits
    assert target.gap < 1e-3 * target.cost
    price = target.used[0].price
    again = Wishes(marginal_return=1 / price).solve(revenue, cost)
    assert again.cost == pytest.approx(target.cost, rel=1e-3)


def test_other_amounts_of_money() -> None:
    _, cost = people(1)
    limit = Limit("north", cost * NORTH, 1.0, money=True)
    heads = Limit("letters", NORTH.expand(-1, ARMS), 3.0)
    more = Wishes(budget=2.0, marginal_return=0.5, limits=(limit, heads)).times(1.5)
    assert (more.budget, more.marginal_return) == (3.0, 0.75)
    assert [one.at_most for one in more.limits] == [1.5, 3.0]
    assert Wishes(target_revenue=4.0).times(0.5).target_revenue == 2.0


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "a plan needs a budget, a target_revenue, a marginal_return, a min_return, a capac"),
        ({"budget": -1.0}, "budget must be >= 0, got -1"),
        ({"budget": 1.0, "min_return": -1.0}, "min_return must be >= 0"),
        ({"marginal_return": -0.5}, "marginal_return must be >= 0"),
        ({"target_revenue": float("nan")}, "target_revenue must be"),
        ({"target_revenue": 1.0, "budget": 1.0}, "takes no budget; leave one of them out"),
        ({"target_revenue": 1.0, "marginal_return": 1.0}, "takes no marginal_return"),
        ({"budget": 1.0, "switching_cost": 1.0}, "count changes from last time's treatments"),
        ({"budget": 1.0, "max_changes": 2}, "count changes from last time's treatments"),
        ({"budget": 1.0, "last": LAST, "switching_cost": -1.0}, "switching_cost must be >= 0"),
        ({"budget": 1.0, "last": LAST, "max_changes": -1}, "max_changes must be >= 0"),
    ],
)
def test_wishes_that_do_not_go_together(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        Wishes(**asked)


def test_last_time_must_fit() -> None:
    with pytest.raises(InvalidValueError, match=r"last must be 6 treatments in -1 .. 2"):
        Wishes(budget=1.0, last=LAST + 1, switching_cost=1.0).solve(*people(0))
    with pytest.raises(InvalidValueError, match=r"last must be 6 treatments"):
        Wishes(budget=1.0, last=LAST[:4], switching_cost=1.0).solve(*people(0))
    with pytest.raises(InvalidValueError, match=r"last must be 6 treatments in .*, got \(0,\)\."):
        Wishes(budget=1.0, last=LAST[:0], switching_cost=1.0).solve(*people(0))
    with pytest.raises(DTypeError, match=r"last must be int64, got torch\.float32"):
        Wishes(budget=1.0, last=LAST + 0.5, switching_cost=1.0).solve(*people(0))


def test_limits_must_fit() -> None:
    revenue, cost = people(0)
    with pytest.raises(ShapeError, match=r"use of north must be \(6, 3\) .* got \(6, 1\)"):
        Wishes(limits=(Limit("north", NORTH, 1.0),)).solve(revenue, cost)
    with pytest.raises(InvalidValueError, match="north must be >= 0, got nan"):
        Limit("north", cost, float("nan"))
    for amount in (1.0, float("inf")):
        with pytest.raises(InvalidValueError, match="use of north must be >= 0, got a minimum of"):
            Wishes(limits=(Limit("north", -cost, amount),)).solve(revenue, cost)
        with pytest.raises(InvalidValueError, match="use of north must be finite, got NaN"):
            Wishes(limits=(Limit("north", cost / 0, amount),)).solve(revenue, cost)
    with pytest.raises(InvalidValueError, match="north must be >= 0 and finite, got -inf"):
        Limit("north", cost, -float("inf"))
    with pytest.raises(DTypeError, match="use of north must be a tensor, got list"):
        Limit("north", cost.tolist(), 1.0)
    with pytest.raises(InvalidValueError, match="limits must be an instance of Limit, got 'north'"):
        Wishes(limits=("north",))  # type: ignore[arg-type]


def test_amounts_solver_and_names_must_fit() -> None:
    revenue, cost = people(0)
    wishes = Wishes(budget=1.0)
    with pytest.raises(DTypeError, match="cost must be a tensor, got list"):
        wishes.solve(revenue, cost.tolist())
    with pytest.raises(ShapeError, match=r"cost must be \(N, M\), got \(6,\)"):
        wishes.solve(revenue, cost[:, 0])
    with pytest.raises(InvalidValueError, match="solver must be an instance of AbstractSolver"):
        wishes.solve(revenue, cost, "greedy-dual")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="names must be 3, one a treatment, got 2"):
        Wishes(budget=1.0, names=("none", "mail")).solve(revenue, cost)


def test_least_people_must_fit() -> None:
    revenue, cost = people(0)
    wrong: Any = [0, 1, 0]
    with pytest.raises(DTypeError, match="at_least must be a tensor, got list"):
        Wishes(budget=1.0, at_least=wrong).solve(revenue, cost)
    with pytest.raises(ShapeError, match=r"at_least must be \(3,\), one a treatment, got \(2,\)"):
        Wishes(budget=1.0, at_least=torch.zeros(2)).solve(revenue, cost)
    with pytest.raises(InvalidValueError, match="at_least of mail must be >= 0, got -1"):
        Wishes(budget=1.0, at_least=torch.tensor([0, -1, 0]), names=("none", "mail", "call")).solve(
            revenue, cost
        )


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_what_counts_can_be_of_any_dtype(dtype: torch.dtype) -> None:
    use = torch.tensor([[0, 1, 1]]).expand(PEOPLE, ARMS)
    usual = Wishes(limits=(Limit("sent", use.double(), 2.0),), allowed=ALLOWED)
    wishes = Wishes(limits=(Limit("sent", use.to(dtype), 2.0),), allowed=ALLOWED)
    assert wishes.solve(*people(0)).used == usual.solve(*people(0)).used


def test_a_least_return_or_places_are_wish_enough() -> None:
    revenue, cost = people(0)
    found = Wishes(min_return=1.5).solve(revenue, cost, MixedInteger())
    truth = best(revenue, lambda one: total(revenue, one) >= 1.5 * total(cost, one) - 1e-9)
    assert found.revenue == pytest.approx(truth)
    assert 0 < found.cost < float(cost[:, -1].sum())
    places = torch.tensor([torch.inf, torch.inf, 2.0])
    found = Wishes(capacity=places).solve(revenue, cost, MixedInteger())
    truth = best(revenue, lambda one: int((one == 2).sum()) <= 2)
    assert found.revenue == pytest.approx(truth)


def test_a_least_return_that_is_met_exactly_is_met() -> None:
    cost = torch.tensor([[0.1, 0.2]], dtype=torch.float64)
    revenue = torch.tensor([[0.3, 0.6]], dtype=torch.float64)
    assert bool((revenue < 3 * cost).all())  # by rounding
    assert Wishes(min_return=3.0).solve(revenue, cost).choice.tolist() == [1]
    assert Wishes(min_return=3.0, budget=0.1).solve(revenue, cost).choice.tolist() == [0]
    with pytest.raises(InfeasibleProblemError, match=r"min_return = 3\.0001 cannot"):
        Wishes(min_return=3.0001).solve(revenue, cost)


def test_a_limit_at_infinity_binds_nobody() -> None:
    revenue, cost = people(0)
    free = Limit("free", cost, float("inf"))
    (used,) = (found := Wishes(limits=(free,)).solve(revenue, cost)).used
    assert torch.equal(found.choice, revenue.argmax(dim=1))
    assert (used.at_most, used.price) == (float("inf"), 0)
    bound, only = Limit("bound", cost, 1.0), Wishes(budget=1.0).solve(revenue, cost)
    beside = Wishes(limits=(free, bound)).solve(revenue, cost)
    assert torch.equal(beside.choice, only.choice)
    assert beside.used[1].price == only.used[0].price


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"target_revenue": 1e3}, "target_revenue must be at most what everyone's best treatment"),
        ({"budget": 1e3, "min_return": 1e6, "pinned": PINNED}, "min_return = 1e.06 cannot be met"),
        ({"budget": 0.1, "pinned": PINNED}, "money must be at least"),
        (
            {"budget": 9.0, "at_least": torch.tensor([0, 6, 0]), "allowed": ALLOWED},
            "at_least of treatment 1 must be at most 5, as many as may get it, got 6; lower it",
        ),
        (
            {"budget": 0.5, "last": LAST, "max_changes": 0},
            r"no .*\(budget 0 is money, budget 1 is changes.\)",
        ),
    ],
)
def test_wishes_that_no_plan_meets(asked: dict[str, Any], message: str) -> None:
    with pytest.raises((InfeasibleProblemError, NotConvergedError), match=message):
        Wishes(**asked).solve(*people(0))


def test_inputs_stay_as_they_are() -> None:
    revenue, cost = (amount.float() for amount in people(0))
    before = revenue.clone(), cost.clone()
    Wishes(target_revenue=3.0, last=LAST, switching_cost=0.1, allowed=ALLOWED).solve(revenue, cost)
    assert torch.equal(revenue, before[0])
    assert torch.equal(cost, before[1])
