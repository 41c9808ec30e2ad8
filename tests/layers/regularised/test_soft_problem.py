"""The root-find alone, on spends that are smooth, stepped, flat or not monotone."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.layers.regularised.soft_problem import find_multiplier


def solve(
    spend: Callable[[Tensor], Tensor],
    budget: list[float],
    start: float = 0.0,
    floor: float = -math.inf,
) -> tuple[Tensor, Tensor]:
    """Find with slopes by autograd; the last evaluation must be at what is found."""

    tried: list[Tensor] = []

    def both(multiplier: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
        tried.append(multiplier)
        at = multiplier.clone().requires_grad_()
        spent = spend(at)
        return spent.detach(), lambda: -torch.autograd.grad(spent.sum(), at)[0]

    money = torch.tensor(budget, dtype=torch.float64)
    first, one = torch.full_like(money, start), torch.ones_like(money)
    least = torch.full_like(money, floor)
    found, binds = find_multiplier(both, money, first, unit=one, floor=least, rtol=1e-14)
    assert_close(tried[-1], found, rtol=0, atol=0)
    return found, binds


@pytest.mark.parametrize("start", [0.0, 0.3, 40.0])
@pytest.mark.parametrize("floor", [-math.inf, -1.0, 0.0])
def test_it_meets_each_budget_or_leaves_money(start: float, floor: float) -> None:
    found, binds = solve(lambda x: 2 * torch.exp(-x), [1.0, 1e-6, 3.0], start, floor)
    assert_close(found, torch.tensor([2.0, 2e6, 1.0]).double().log().mul(torch.tensor([1, 1, 0])))
    assert binds.tolist() == [True, True, False]


def test_an_exponential_above_its_floor_is_solved_in_one_step() -> None:
    seen = []

    def spend(x: Tensor) -> Tensor:
        seen.append(float(x.detach()[0]))
        return 3 + torch.exp(-x)

    solve(spend, [3.001], floor=3.0)
    assert seen[1] == pytest.approx(math.log(1000))


def test_steps_are_crossed_from_above() -> None:
    """Spend falls from 1 to 0 within 1e-9 at 0.7: Newton sees a flat line almost everywhere."""
    found, binds = solve(lambda x: torch.sigmoid((0.7 - x) * 1e9), [0.5, 0.25])
    assert_close(found, torch.full((2,), 0.7, dtype=torch.float64), atol=1e-8, rtol=0)
    assert binds.all()


def test_where_spend_rises_a_crossing_from_above_is_found() -> None:
    found, _ = solve(lambda x: 1 + torch.cos(x), [0.5], start=4.0)
    assert float(torch.cos(found)) == pytest.approx(-0.5)
    assert float(torch.sin(found)) > 0  # falls there


def test_where_nothing_meets_the_budget_the_least_spend_is_taken() -> None:
    found, binds = solve(lambda x: 1 + 1 / (1 + x), [0.5])
    assert float(1 / (1 + found)) < 1e-6
    assert bool(found.isfinite())
    assert not bool(binds)
