import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dfl import Allocation, AllocationProblem, Budget, ObservedCost
from dfl.errors import (
    DTypeError,
    InfeasibleBudgetError,
    InfeasibleProblemError,
    InvalidValueError,
    ShapeError,
)
from dfl.problem import BUDGET_SLACK, rounding
from dfl.problem.amounts import total_if_sound

REVENUE = torch.tensor([[0.0, 1.0, 1.5], [0.0, 2.0, 2.0]])
COST = torch.tensor([[0.0, 1.0, 2.0], [1.0, 1.0, 2.0]])
NAN, INF = float("nan"), float("inf")


def with_entry(tensor: Tensor, value: float) -> Tensor:
    """Copy a tensor, its last entry replaced."""
    copy = tensor.clone()
    copy.view(-1)[-1] = value
    return copy


def observed(
    *,
    treatment: Tensor | None = None,
    cost: Tensor | None = None,
    weight: Tensor | None = None,
) -> ObservedCost:
    """Logs of two people, with a column replaced."""
    return ObservedCost(
        torch.tensor([0, 2]) if treatment is None else treatment,
        torch.ones(2) if cost is None else cost,
        torch.full((2,), 3.0) if weight is None else weight,
    )


def test_sizes_and_budget_of_a_problem() -> None:
    problem = AllocationProblem(REVENUE, COST, 3)
    assert (problem.rows, problem.treatments) == (2, 3)
    assert problem.budgets.tolist() == [3.0]
    assert problem.budgets.dtype == torch.float64


@pytest.mark.parametrize("budget", [3.0, torch.tensor(3.0), torch.tensor([3.0])])
def test_a_budget_is_a_number_or_a_tensor(budget: float | Tensor) -> None:
    assert AllocationProblem(REVENUE, COST, budget).budgets.tolist() == [3.0]


def test_several_budgets_have_one_cost_each() -> None:
    cost = torch.stack([COST, 2 * COST], dim=2)
    problem = AllocationProblem(REVENUE, cost, torch.tensor([1.0, 2.0]))
    assert problem.budgets.tolist() == [1.0, 2.0]


def test_nobody_needs_no_money() -> None:
    assert AllocationProblem(REVENUE[:0], COST[:0], 0.0).rows == 0


def test_a_budget_short_by_rounding_is_accepted() -> None:
    assert AllocationProblem(REVENUE, COST, 1.0 - 1e-12).budgets.item() < 1.0


@pytest.mark.parametrize(
    ("revenue", "cost", "budget", "message"),
    [
        (REVENUE[0], COST[0], 3.0, r"revenue must be \(N, M\) with M >= 1, got \(3,\)"),
        (REVENUE[:, :0], COST[:, :0], 3.0, r"with M >= 1, got \(2, 0\)"),
        (REVENUE, COST[:1], 3.0, r"cost must be \(2, 3\) as revenue is.*got \(1, 3\)"),
        (REVENUE, COST[None, None], 3.0, r"cost must be \(2, 3\).*got \(1, 1, 2, 3\)"),
        (REVENUE, COST, torch.ones(2), r"budget must have 1 value\(s\), got 2"),
        (REVENUE, torch.stack([COST, COST], 2), 3.0, r"budget must have 2 value\(s\), got 1"),
    ],
)
def test_wrong_shapes_are_refused(
    revenue: Tensor, cost: Tensor, budget: float | Tensor, message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        AllocationProblem(revenue, cost, budget)


@pytest.mark.parametrize(
    ("revenue", "cost", "message"),
    [
        (REVENUE.int(), COST, r"revenue must be float32 or float64, got torch\.int32"),
        (REVENUE.half(), COST, r"revenue must be float32 or float64, got torch\.float16"),
        (REVENUE, COST.double(), r"share dtype and device, got torch\.float32 on cpu and "),
        (REVENUE, COST.to("meta"), "numbers densely, got the device meta"),
    ],
)
def test_wrong_dtypes_and_devices_are_refused(revenue: Tensor, cost: Tensor, message: str) -> None:
    with pytest.raises(DTypeError, match=message):
        AllocationProblem(revenue, cost, 3.0)


@pytest.mark.parametrize(
    ("revenue", "cost", "budget", "message"),
    [
        (with_entry(REVENUE, NAN), COST, 3.0, "revenue must be finite.*find the rows"),
        (with_entry(REVENUE, INF), COST, 3.0, "revenue must be finite"),
        (REVENUE, with_entry(COST, NAN), 3.0, "cost must be finite, got NaN or infinity"),
        (REVENUE, with_entry(COST, -0.5), 3.0, r"cost must be >= 0, got a minimum of -0\.5"),
        (REVENUE, COST, NAN, r"budget must be finite, got \[nan\]"),
        (REVENUE, COST, INF, r"budget must be finite, got \[inf\]"),
    ],
)
def test_wrong_values_are_refused(
    revenue: Tensor, cost: Tensor, budget: float, message: str
) -> None:
    with pytest.raises(InvalidValueError, match=message):
        AllocationProblem(revenue, cost, budget)


def test_a_budget_below_the_cheapest_choice_is_refused() -> None:
    with pytest.raises(InfeasibleBudgetError, match=r"at least .* \[1\.0\], got \[0\.5\]; raise"):
        AllocationProblem(REVENUE, COST, 0.5)
    several = torch.stack([COST, COST], 2)
    with pytest.raises(InfeasibleBudgetError, match=r"\[1\.0, 1\.0\], got \[3\.0, 0\.5\]"):
        AllocationProblem(REVENUE, several, torch.tensor([3.0, 0.5]))


def test_observed_costs_lift_the_check_of_the_budget() -> None:
    assert AllocationProblem(REVENUE, COST, 0.5, observed()).observed is not None


def test_observed_columns_share_one_shape() -> None:
    with pytest.raises(ShapeError, match=r"must share one shape \(\.\.\., N\), got \(2,\), \(3,\)"):
        observed(cost=torch.ones(3))
    with pytest.raises(ShapeError, match=r"got \(\), \(\) and \(\)"):
        ObservedCost(torch.tensor(0), torch.tensor(1.0), torch.tensor(1.0))


def test_observed_dtypes_are_checked() -> None:
    with pytest.raises(DTypeError, match=r"observed treatment must be int64, got torch\.float32"):
        observed(treatment=torch.zeros(2))
    with pytest.raises(DTypeError, match=r"observed cost must be float32 or float64"):
        observed(cost=torch.ones(2, dtype=torch.int64))


@pytest.mark.parametrize("column", ["cost", "weight"])
def test_observed_amounts_are_checked(column: str) -> None:
    with pytest.raises(InvalidValueError, match=f"observed {column} must be finite"):
        observed(**{column: torch.tensor([1.0, NAN])})
    with pytest.raises(InvalidValueError, match=f"observed {column} must be >= 0, got a minimum"):
        observed(**{column: torch.tensor([1.0, -1.0])})


def test_observed_costs_must_fit_the_problem() -> None:
    one = ObservedCost(torch.tensor([0]), torch.ones(1), torch.ones(1))
    with pytest.raises(ShapeError, match=r"observed must be \(2,\) as revenue has.*got \(1,\)"):
        AllocationProblem(REVENUE, COST, 3.0, one)
    several = torch.stack([COST, COST], 2)
    with pytest.raises(ShapeError, match=r"one budget, got cost \(N, M, K\)"):
        AllocationProblem(REVENUE, several, torch.tensor([3.0, 3.0]), observed())


def test_observed_treatments_must_exist() -> None:
    with pytest.raises(InvalidValueError, match=r"must lie in 0 \.\. 2, got 0 \.\. 3"):
        AllocationProblem(REVENUE, COST, 3.0, observed(treatment=torch.tensor([0, 3])))


ALLOWED = torch.tensor([[True, True, False], [False, True, True]])


def test_masks_and_pins_leave_choices() -> None:
    assert AllocationProblem(REVENUE, COST, 3.0).choices is None
    masked = AllocationProblem(REVENUE, COST, 3.0, allowed=ALLOWED)
    assert masked.choices is ALLOWED
    pinned = AllocationProblem(REVENUE, COST, 3.0, pinned=torch.tensor([-1, 2]))
    assert pinned.choices.tolist() == [[True, True, True], [False, False, True]]
    both = AllocationProblem(REVENUE, COST, 3.0, allowed=ALLOWED, pinned=torch.tensor([-1, 2]))
    assert both.choices.tolist() == [[True, True, False], [False, False, True]]


def test_every_constraint_may_be_given_together() -> None:
    full = AllocationProblem(
        REVENUE,
        COST,
        3.0,
        allowed=ALLOWED,
        pinned=torch.tensor([0, -1]),
        capacity=torch.tensor([1.5, 1.0, INF]),
        min_return=0.0,
    )
    assert (full.rows, full.treatments) == (2, 3)


def test_banned_treatments_do_not_count_as_the_cheapest() -> None:
    costly = {"allowed": torch.tensor([[False, True, True], [False, False, True]])}
    assert AllocationProblem(REVENUE, COST, 3.0, **costly).budgets.item() == 3.0
    with pytest.raises(InfeasibleBudgetError, match=r"\[3\.0\], got \[2\.5\]"):
        AllocationProblem(REVENUE, COST, 2.5, **costly)
    with pytest.raises(InfeasibleBudgetError, match=r"\[3\.0\], got \[2\.5\]"):
        AllocationProblem(REVENUE, COST, 2.5, pinned=torch.tensor([1, 2]))
    several = torch.stack([COST, 2 * COST], 2)
    with pytest.raises(InfeasibleBudgetError, match=r"\[3\.0, 6\.0\], got \[9\.0, 5\.0\]"):
        AllocationProblem(REVENUE, several, torch.tensor([9.0, 5.0]), **costly)


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ({"allowed": ALLOWED.int()}, r"allowed must be bool on cpu, got torch\.int32 on cpu"),
        ({"allowed": ALLOWED.to("meta")}, "allowed must hold .* device meta"),
        ({"pinned": torch.tensor([0.0, 1.0])}, r"pinned must be int64 on cpu, got torch\.float32"),
    ],
)
def test_constraints_of_a_wrong_dtype_are_refused(
    constraint: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(DTypeError, match=message):
        AllocationProblem(REVENUE, COST, 3.0, **constraint)


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ({"allowed": ALLOWED[:1]}, r"allowed must be \(2, 3\) as revenue is, got \(1, 3\)"),
        ({"pinned": torch.tensor([0])}, r"pinned must be \(2,\), got \(1,\)"),
        ({"capacity": torch.ones(2)}, r"capacity must be \(3,\), got \(2,\)"),
    ],
)
def test_constraints_of_a_wrong_shape_are_refused(
    constraint: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        AllocationProblem(REVENUE, COST, 3.0, **constraint)


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (
            {"allowed": ALLOWED & torch.tensor([[True], [False]])},
            r"allowed must leave everyone a treatment, got 1 row\(s\).*the first is row 1",
        ),
        ({"pinned": torch.tensor([0, 3])}, r"pinned must lie in -1 \.\. 2.*got 0 \.\. 3"),
        ({"pinned": torch.tensor([-2, 1])}, r"pinned must lie in -1 \.\. 2.*got -2 \.\. 1"),
        (
            {"allowed": ALLOWED, "pinned": torch.tensor([1, 0])},
            r"pinned must be a treatment that is allowed, got 1 row\(s\).*the first is row 1",
        ),
        ({"capacity": torch.tensor([2, -1, 2])}, r"capacity must be >= 0, got \[2, -1, 2\]"),
        ({"capacity": torch.tensor([2, NAN, 2])}, r"capacity must be >= 0, got \[2\.0, nan, 2"),
        ({"min_return": -0.5}, r"min_return must be >= 0, got -0\.5"),
        ({"min_return": NAN}, "min_return must be >= 0, got nan"),
        ({"min_return": INF}, "min_return must be >= 0 and finite, got inf"),
    ],
)
def test_constraints_out_of_range_are_refused(constraint: dict[str, Tensor], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        AllocationProblem(REVENUE, COST, 3.0, **constraint)


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (
            {"capacity": torch.tensor([0.9, 1.9, 0.0])},
            "capacity must take all 2 people, got places for 1; raise a capacity",
        ),
        (
            {"capacity": torch.tensor([2, 2, 1]), "pinned": torch.tensor([2, 2])},
            r"capacity must take the people pinned, \[0, 0, 2\].*got \[2, 2, 1\]; raise it",
        ),
    ],
)
def test_capacities_for_too_few_people_are_refused(
    constraint: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(InfeasibleProblemError, match=message):
        AllocationProblem(REVENUE, COST, 9.0, **constraint)


def allocation(revenue: float, upper_bound: float) -> Allocation:
    one, two = torch.tensor([1.0, 2.0]).double()
    earned, bound = torch.tensor([revenue, upper_bound]).double()
    return Allocation(
        torch.tensor([0, 1]), multiplier=one, revenue=earned, cost=two, upper_bound=bound
    )


@pytest.mark.parametrize(
    ("revenue", "upper_bound", "gap"),
    [(9.0, 10.0, 0.1), (-11.0, -10.0, 0.1), (10.0, 10.0, 0.0), (0.0, 0.0, 0.0)],
)
def test_gap_is_relative_to_the_upper_bound(revenue: float, upper_bound: float, gap: float) -> None:
    assert allocation(revenue, upper_bound).gap == pytest.approx(gap)


def test_gap_to_a_bound_of_0_is_huge_not_nan() -> None:
    assert allocation(-1.0, 0.0).gap > 1e300


def test_gap_without_a_bound_is_infinite() -> None:
    assert allocation(1.0, INF).gap == INF


def test_problems_and_allocations_pickle() -> None:
    logs = observed()
    problem = AllocationProblem(REVENUE, COST, 3.0, logs)
    copy = pickle.loads(pickle.dumps(problem))
    assert torch.equal(copy.revenue, REVENUE)
    assert torch.equal(copy.observed.treatment, logs.treatment)
    assert pickle.loads(pickle.dumps(allocation(1.0, 2.0))).gap == 0.5


@pytest.mark.parametrize("rows", [2, 1_000, 100_000])
@pytest.mark.parametrize("as_number", [False, True])
def test_a_float32_sum_of_float32_costs_is_enough_to_pay_them(rows: int, as_number: bool) -> None:
    generator = torch.Generator().manual_seed(rows)
    cost = torch.rand(rows, 3, generator=generator).cumsum(1) + 0.1
    total = cost[:, 0].sum()
    problem = AllocationProblem(cost, cost, float(total) if as_number else total)
    assert float(problem.budgets) >= float(total)
    exact = float(cost[:, 0].sum(dtype=torch.float64))
    assert float(problem.budgets) == pytest.approx(exact, rel=1e-6)
    with pytest.raises(InfeasibleBudgetError, match="at least the cost of the cheapest choice"):
        AllocationProblem(cost, cost, float(total) * (1 - 1e-5))


def test_a_float64_sum_must_be_exact_to_float64() -> None:
    cost = torch.rand(1_000, 3, generator=torch.Generator().manual_seed(0)).double() + 0.1
    total = float(cost.amin(1).sum())
    assert AllocationProblem(cost, cost, total * (1 - 1e-12)).budgets.item() < total
    with pytest.raises(InfeasibleBudgetError):
        AllocationProblem(cost, cost, total * (1 - 1e-8))


def test_a_float32_budget_of_pinned_people_is_raised_to_what_they_cost() -> None:
    cost = torch.rand(10_000, 4, generator=torch.Generator().manual_seed(4)) + 0.1
    pinned = torch.arange(10_000) % 4
    total = cost[torch.arange(10_000), pinned].sum()
    problem = AllocationProblem(cost, cost, total * (1 - 3e-8), pinned=pinned)
    exact = cost[torch.arange(10_000), pinned].sum(dtype=torch.float64)
    assert float(problem.budgets) == pytest.approx(float(exact), rel=2e-7)


def test_rounding_follows_dtype_and_number_of_people() -> None:
    assert rounding(3.0, 10**7) == rounding(torch.tensor(3), 10**7) == BUDGET_SLACK
    assert rounding(torch.ones((), dtype=torch.float64), 10**7) == BUDGET_SLACK
    few, many = (rounding(torch.ones(()), rows) for rows in (1, 10**7))
    assert torch.finfo(torch.float32).eps == few < many < 1e-5


def test_infinity_is_no_limit_among_several_budgets() -> None:
    cost = torch.stack([COST, COST], dim=2)
    assert AllocationProblem(REVENUE, cost, torch.tensor([1.0, INF])).budgets.tolist() == [1.0, INF]
    with pytest.raises(InvalidValueError, match=r"must be finite, got \[inf\]; infinity is no lim"):
        AllocationProblem(REVENUE, COST, INF)
    for wrong in (NAN, -INF):
        with pytest.raises(InvalidValueError, match="budget must be finite, got"):
            AllocationProblem(REVENUE, cost, torch.tensor([1.0, wrong]))


def test_costs_without_a_budget_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"cost must have one budget at least, got \(2, 3, 0\)"):
        AllocationProblem(REVENUE, torch.zeros(2, 3, 0), torch.zeros(0))


@pytest.mark.parametrize("name", ["revenue", "cost", "allowed", "pinned", "capacity"])
def test_what_is_no_tensor_is_refused_by_its_name(name: str) -> None:
    given: dict[str, Any] = {"revenue": REVENUE, "cost": COST, "budget": 3.0}
    with pytest.raises(DTypeError, match=f"{name} must be a tensor, got list; torch.as_tensor"):
        AllocationProblem(**{**given, name: [1.0, 2.0, 3.0]})


@pytest.mark.parametrize("column", ["treatment", "cost", "weight"])
def test_logs_that_are_no_tensors_are_refused_by_their_name(column: str) -> None:
    given: dict[str, Any] = {"treatment": torch.zeros(1).long()}
    given |= {"cost": torch.ones(1), "weight": torch.ones(1), column: [1.0]}
    with pytest.raises(DTypeError, match=f"observed {column} must be a tensor, got list; torch"):
        ObservedCost(**given)


def test_logs_of_a_treatment_below_0_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="treatment must be >= 0, got a minimum of -1"):
        observed(treatment=torch.tensor([0, -1]))

    def refused(treatment: Tensor) -> Tensor:
        return ObservedCost(treatment, torch.ones(2), torch.ones(2)).treatment

    with pytest.raises(InvalidValueError, match="treatment must be >= 0, got a minimum of -1"):
        torch.func.vmap(refused)(torch.tensor([[0, 1], [0, -1]]))


@pytest.mark.parametrize("budget", ["20", None, [1.0, "2"], {}, Budget(per_head=1.0)])
def test_a_budget_that_is_no_number_is_refused(budget: Any) -> None:
    with pytest.raises(
        InvalidValueError, match=r"tensor of numbers, got .*; of a Budget take \.total"
    ):
        AllocationProblem(REVENUE, COST, budget)


def test_a_budget_beyond_floats_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="budget must be finite, got a whole number of ov"):
        AllocationProblem(REVENUE, COST, 10**400)


def test_a_least_return_may_be_a_number_of_numpy() -> None:
    least = AllocationProblem(REVENUE, COST, 3.0, min_return=np.float32(0.5)).min_return  # type: ignore[arg-type]
    assert (least, type(least)) == (0.5, float)


def test_logs_and_returns_of_another_kind_are_refused() -> None:
    wrong: Any = {"treatment": 1}
    with pytest.raises(DTypeError, match="observed must be an ObservedCost, got dict"):
        AllocationProblem(REVENUE, COST, 3.0, observed=wrong)
    wrong = "1.5"
    with pytest.raises(InvalidValueError, match=r"min_return must be a number, got '1\.5'"):
        AllocationProblem(REVENUE, COST, 3.0, min_return=wrong)


@pytest.mark.parametrize("treatments", [5, 11])  # above a million numbers both are read once
@pytest.mark.parametrize("place", [0, 5_000, 99_999])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_one_bad_number_among_many_is_found(place: int, value: float, treatments: int) -> None:
    good = torch.ones(100_000, treatments)
    bad = good.clone()
    bad[place, 3] = value
    with pytest.raises(InvalidValueError, match="revenue must be finite"):
        AllocationProblem(bad, good, 1e6)
    with pytest.raises(InvalidValueError, match="cost must be finite"):
        AllocationProblem(good, bad, 1e6)
    bad[place, 3] = -0.5
    with pytest.raises(InvalidValueError, match=r"cost must be >= 0, got a minimum of -0\.5"):
        AllocationProblem(good, bad, 1e6)


@pytest.mark.parametrize("axes", [(), (3,)])
def test_self_normalised_logs_spend_constant_costs_as_constants(axes: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    treatment = torch.randint(3, (*axes, 50), generator=generator)
    price = torch.tensor([0.0, 2.0, 5.0])
    weight = torch.rand(*axes, 50, generator=generator) + 1
    logs = ObservedCost(treatment, price[treatment], weight)
    found = logs.self_normalised()
    for arm in range(3):
        spent = (found.weight * found.cost * (treatment == arm)).sum(dim=-1)
        torch.testing.assert_close(spent, torch.full(axes, 50 * float(price[arm])))
    torch.testing.assert_close(found.self_normalised().weight, found.weight)
    assert logs.weight is weight
    assert found.cost is logs.cost


def test_float32_weights_of_many_rows_add_up_to_their_number() -> None:
    weight = torch.ones(1_001)
    weight[0] = 2**24  # to which float32 cannot add 1
    logs = ObservedCost(torch.zeros(1_001, dtype=torch.int64), torch.ones(1_001), weight)
    found = logs.self_normalised().weight
    assert found.dtype == torch.float32
    assert float(found.double().sum()) == pytest.approx(1_001, rel=1e-6)


def test_weights_of_zero_stay() -> None:
    logs = ObservedCost(torch.tensor([0, 1]), torch.ones(2), torch.tensor([0.0, 2.0]))
    assert logs.self_normalised().weight.tolist() == [0.0, 2.0]
    none = ObservedCost(torch.zeros(0, dtype=torch.int64), torch.zeros(0), torch.zeros(0))
    assert none.self_normalised() is none


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_amounts_are_checked_like_few(dtype: torch.dtype) -> None:
    cost = torch.arange(7, dtype=dtype).expand(160_001, 7).contiguous()
    cost[3] = -0.0  # no less than 0
    revenue = -cost
    assert AllocationProblem(revenue, cost, 0.0).budgets.tolist() == [0.0]
    cost[:, 0] = 0.5
    with pytest.raises(
        InfeasibleBudgetError, match=r"the cheapest choice for everyone, \[80000\.0"
    ):
        AllocationProblem(revenue, cost, 79_000.0)
    total = total_if_sound(revenue, cost + 0.0)
    assert total is None or float(total) == 80_000.5
