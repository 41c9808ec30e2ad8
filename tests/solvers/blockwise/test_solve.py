import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.errors import InfeasibleBudgetError, InvalidValueError, NotConvergedError
from dfl.problem import AllocationProblem
from dfl.solvers import GreedyDual
from dfl.solvers.blockwise import (
    BlockwiseAllocation,
    TensorBlocks,
    money_of,
    solve,
    solve_blocks,
)
from dfl.solvers.passes import Backend
from tests.solvers.instances import KINDS, problem


def choices(found: BlockwiseAllocation, blocks: TensorBlocks) -> Tensor:
    parts = [found.choice(k, *blocks.scores(k)) for k in range(len(blocks.sizes))]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)


def check(many: AllocationProblem, rows: int, backend: Backend = "auto") -> None:
    """Compare with the solver of what fits in memory, and the totals with the choices."""
    blocks = TensorBlocks(many.revenue, many.cost, rows)
    found = solve_blocks(blocks, Budget(total=float(many.budget)), backend=backend)
    whole = GreedyDual(backend=backend).solve(many)
    choice = choices(found, blocks)[:, None]
    cost = float(many.cost.gather(1, choice).sum(dtype=torch.float64))
    revenue = float(many.revenue.gather(1, choice).sum(dtype=torch.float64))
    assert cost <= float(many.budgets) * (1 + 1e-9)
    assert (found.cost, found.revenue) == pytest.approx((cost, revenue), rel=1e-9)
    assert found.upper_bound == pytest.approx(float(whole.upper_bound), rel=1e-9)
    assert found.multiplier == pytest.approx(float(whole.multiplier), rel=1e-9)
    assert found.gap <= whole.gap + 1e-2
    step = float((many.revenue.amax(1) - many.revenue.amin(1)).max())
    assert found.upper_bound - revenue <= step * (1 + 1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("most", [1 << 22, 40, 0])  # in memory; refined; people on ties in order
def test_the_answer_is_that_of_the_solver_in_memory(
    kind: str, seed: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solve, "_MOST_STEPS", most)
    check(problem(seed, rows=2_000, treatments=4, kind=kind), 301)


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_back_ends_and_dtypes(backend: Backend, dtype: torch.dtype) -> None:
    many = problem(5, rows=20_000, treatments=5)
    revenue, cost = many.revenue.to(dtype), many.cost.to(dtype)
    check(AllocationProblem(revenue, cost, float(many.budget)), 6_000, backend)


@pytest.mark.parametrize("most", [1 << 22, 0])
def test_people_who_are_alike_are_served_in_order(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solve, "_MOST_STEPS", most)
    revenue = torch.tensor([[0.0, 3.0, 4.0]]).repeat(1_000, 1)
    cost = torch.tensor([[0.0, 1.0, 2.0]]).repeat(1_000, 1)
    many = AllocationProblem(revenue, cost, 1_250.5)
    check(many, 64)
    blocks = TensorBlocks(revenue, cost, 64)
    found = choices(solve_blocks(blocks, Budget(total=1_250.5)), blocks)
    assert found.equal(torch.tensor([2] * 250 + [1] * 750))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_money_is_taken_of_all_blocks(share: float) -> None:
    many = problem(7, rows=1_000, treatments=3)
    budget = Budget(share=share)
    found = solve_blocks(TensorBlocks(many.revenue, many.cost, 300), budget)
    assert found.budget == pytest.approx(budget.total_of(many.cost), rel=1e-12)
    assert found.people == 1_000
    if share == 1:
        assert found.multiplier == 0


@pytest.mark.parametrize("seed", [2, 10, 12])
def test_sums_of_blocks_that_round_leave_the_cheapest_choices(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    cost = torch.rand(20, 1, generator=draw, dtype=torch.float64).expand(20, 2).contiguous()
    revenue = torch.rand(20, 2, generator=draw, dtype=torch.float64)
    found = solve_blocks(TensorBlocks(revenue, cost, 1), Budget(share=0.5), backend="torch")
    assert found.cost == pytest.approx(float(cost[:, 0].sum()))
    assert found.revenue == pytest.approx(float(revenue.amax(1).sum()))


@pytest.mark.parametrize("treatments", [1, 3])
def test_nobody_and_one_treatment(treatments: int) -> None:
    empty = TensorBlocks(torch.zeros(0, treatments), torch.zeros(0, treatments), 10)
    found = solve_blocks(empty, Budget(total=3.0))
    assert (found.people, found.revenue, found.gap, found.budget) == (0, 0, 0, 3)
    assert money_of(empty, Budget(total=3.0)) == (3, 0)
    assert found.choice(0, *empty.scores(0)).shape == (0,)
    alike = TensorBlocks(torch.ones(25, treatments), torch.ones(25, treatments), 10)
    found = solve_blocks(alike, Budget(total=30.0))
    assert choices(found, alike).equal(torch.zeros(25, dtype=torch.int64))
    assert (found.cost, found.revenue, found.multiplier) == (25, 25, 0)


def test_what_cannot_be_paid_is_refused() -> None:
    blocks = TensorBlocks(torch.ones(25, 2), torch.ones(25, 2), 10)
    with pytest.raises(
        InfeasibleBudgetError, match=r"at least the cost of the cheapest .*25, got 24"
    ):
        solve_blocks(blocks, Budget(total=24.0))
    with pytest.raises(InvalidValueError, match="rows must be >= 1, got 0"):
        TensorBlocks(torch.ones(25, 2), torch.ones(25, 2), 0)


def test_a_wrong_bracket_is_widened_and_said_where_that_does_not_help(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = problem(5, rows=2_000, treatments=4)
    right: Callable[..., object] = solve.Sketch.bracket

    def off(factor: float) -> Callable[..., object]:
        def bracket(self: object, budget: float, **_: object) -> object:
            found = right(self, budget)
            return solve.Bracket(found.low * factor, found.high * factor, found.steps)  # type: ignore[attr-defined]

        return bracket

    monkeypatch.setattr(solve.Sketch, "bracket", off(1 + 2.0**-8))
    check(many, 301)
    monkeypatch.setattr(solve.Sketch, "bracket", off(2.0))
    with pytest.raises(NotConvergedError, match="scores of very different sizes"):
        check(many, 301)
    assert math.isfinite(float(many.budget))


def test_what_is_kept_is_made_once() -> None:
    many = problem(5, rows=900, treatments=4)
    kept: dict[tuple[str, int], object] = {}

    class Kept(TensorBlocks):  # type: ignore[misc]  # final for users; here it counts
        def once(self, name, block, make):  # type: ignore[no-untyped-def]
            if (name, block) not in kept:
                kept[name, block] = make()
            return kept[name, block]

    blocks = Kept(many.revenue, many.cost, 300)
    first = solve_blocks(blocks, Budget(total=float(many.budget)))
    made = len(kept)
    assert made == 6  # three blocks, sketched and opened
    again = solve_blocks(blocks, Budget(total=float(many.budget)))
    assert (len(kept), again.revenue) == (made, first.revenue)
