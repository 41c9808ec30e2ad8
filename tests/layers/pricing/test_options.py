"""`Price` and `Softness`: what they take, refuse, and turn scores into."""

import math
from dataclasses import dataclass, replace
from typing import Any, final

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import DTypeError, InvalidValueError
from dfl.layers import LAYERS, AtPrice, Price, Softness, ZeroGradientWarning
from dfl.layers.pricing.options import far_below, score_scale
from dfl.problem import Allocation, AllocationProblem
from dfl.solvers import AbstractSolver, GreedyDual


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"met_by": "nobody"}, "met_by must be one of 'decision', 'shares', got 'nobody'"),
        (
            {"met_by": "shares", "multiplier": 1.0},
            "multiplier must be None with met_by='shares', which finds it, got 1; leave one of",
        ),
        ({"multiplier": -1.0}, "multiplier must be >= 0, got -1"),
        ({"multiplier": float("nan")}, "multiplier must be >= 0, got nan"),
        ({"multiplier": float("inf")}, "multiplier must be >= 0 and finite, got inf"),
    ],
)
def test_prices_that_are_none_are_refused(options: Any, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        Price(**options)


@pytest.mark.parametrize(
    ("temperature", "scale", "message"),
    [
        (0.0, "relative", "temperature must be > 0, got 0"),
        (-1.0, "absolute", "temperature must be > 0, got -1"),
        (float("nan"), "relative", "temperature must be > 0, got nan"),
        (float("inf"), "relative", "temperature must be > 0 and finite, got inf"),
        (1.0, "half", "scale must be one of 'relative', 'absolute', got 'half'"),
    ],
)
def test_softness_out_of_range_is_refused(temperature: float, scale: Any, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        Softness(temperature, scale)


def test_a_fixed_price_is_every_problems() -> None:
    revenue = torch.zeros(2, 3, 4)
    assert_close(Price(multiplier=0.5).find(revenue, revenue, 1.0, None), torch.full((2,), 0.5))


@pytest.mark.parametrize("shape", [(5, 4), (2, 5, 4)])
def test_the_relative_temperature_is_in_units_of_the_scores(shape: tuple[int, ...]) -> None:
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(*shape, generator=draw, dtype=torch.float64)
    around = values - values.mean(dim=-1, keepdim=True)
    expected = 0.5 * around.square().mean(dim=(-2, -1), keepdim=True).sqrt()
    assert_close(Softness(0.5).of(values), expected)
    assert_close(Softness(0.5).of(1e3 * values + 7), 1e3 * expected)
    assert_close(Softness(0.5, "absolute").of(values), torch.full_like(expected, 0.5))


def test_the_scale_of_scores_has_no_gradient() -> None:
    assert not score_scale(torch.rand(3, 4, requires_grad=True)).requires_grad


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("fill", [-1e3, -1e9, -torch.inf])
@pytest.mark.parametrize("share", [0.001, 0.3])
def test_masks_take_no_part_in_the_scale(fill: float, share: float) -> None:
    values = draw(500, 5)
    masked = torch.rand(500, 5, generator=torch.Generator().manual_seed(1)) < share
    masked[:, 0] = False
    left = torch.where(masked, torch.nan, values)
    expected = (left - left.nanmean(dim=1, keepdim=True)).square().nanmean().sqrt()
    assert int(masked.sum()) > 0
    found = score_scale(values.masked_fill(masked, fill))
    assert_close(found.squeeze(), expected)
    assert_close(far_below(values.masked_fill(masked, fill)), masked)


def test_pins_take_no_part_in_the_scale() -> None:
    values = draw(500, 5)
    pinned = values.clone()
    pinned[7, 2], pinned[90, 1] = 1e9, 1e12
    assert_close(score_scale(pinned), score_scale(values), rtol=1e-2, atol=0)


@pytest.mark.parametrize("fill", [-1e9, -torch.inf])
def test_a_single_instance_may_be_masked(fill: float) -> None:
    assert_close(score_scale(torch.tensor([1.0, 0.0, fill])), torch.tensor([0.5]))


@pytest.mark.parametrize(
    "values",
    [
        torch.tensor([[0.0, 1.0], [0.0, 1e-7]]),  # one person nearly tied
        torch.tensor([[0.0, 1e-9, 1.0], [0.0, 0.0, 0.0]]),
        (3 * draw(2000, 4)).exp(),  # heavy tails
        draw(2000, 4) * (1 + 1e3 * (torch.arange(2000) % 100 == 0)[:, None]),  # few large ones
        draw(50, 4) + 1e4,  # a large constant
        1e-3 * draw(50, 4) + 1e6,
        torch.tensor([[5.0, 2.0]]),
    ],
)
def test_what_is_no_mask_counts_in_full(values: torch.Tensor) -> None:
    around = values - values.mean(dim=-1, keepdim=True)
    assert_close(score_scale(values).squeeze(), around.square().mean().sqrt())
    assert not bool(far_below(values).any())


@pytest.mark.parametrize("size", [3.0, -3.0, 1e-20, 1e6])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_equal_values_have_their_size_as_scale(size: float, kind: torch.dtype) -> None:
    values = torch.full((6, 3), size, dtype=kind)
    assert_close(score_scale(values).item(), values.abs().amax().item())
    rounded = values * (1 + torch.finfo(kind).eps * torch.eye(6, 3, dtype=kind))
    assert_close(score_scale(rounded).item(), abs(size), rtol=1e-5, atol=0)


@pytest.mark.parametrize("unit", [2.0**-120, 2.0**-70, 2.0**65, 2.0**124])
def test_values_whose_squares_are_out_of_range_have_a_scale(unit: float) -> None:
    values = torch.tensor([[1.0, 2.0], [3.0, 7.0]])
    assert_close(score_scale(unit * values), unit * score_scale(values), rtol=0, atol=0)


def test_zeros_and_nothing_have_a_unit_scale() -> None:
    for shape in ((4, 3), (0, 3), (3,), (2, 0, 3)):
        assert_close(
            score_scale(torch.zeros(*shape)), torch.ones((*shape[:-2], 1, 1)[-len(shape) :])
        )


def test_order_of_rows_and_columns_does_not_matter() -> None:
    values = draw(5000, 4).masked_fill(torch.arange(20_000).reshape(5000, 4) % 17 == 0, -1e6)
    shuffled = values[torch.randperm(5000, generator=torch.Generator().manual_seed(0))].flip(1)
    assert_close(score_scale(shuffled), score_scale(values))


def test_problems_are_scaled_one_by_one_mapped_or_not() -> None:
    values = torch.stack((draw(30, 4), 1e3 * draw(30, 4, seed=1), torch.zeros(30, 4).double()))
    values[0, 3, 2] = -1e9
    alone = torch.stack([score_scale(one) for one in values])
    assert_close(score_scale(values), alone)
    assert_close(torch.func.vmap(score_scale)(values), alone)


def test_a_step_is_finite_whatever_the_gradient() -> None:
    values = draw(5, 4).float()
    for slope in (torch.zeros(5, 4), torch.ones(5, 4), torch.full((5, 4), 1e-38)):
        step = Softness(1.0).step(values, slope)
        assert isinstance(step, torch.Tensor)
        assert bool((step.isfinite() & (step > 0)).all())


@final
@dataclass(frozen=True, eq=False)
class Priced(AbstractSolver):
    """Finds whatever it is told to."""

    price: Any

    def solve(self, problem: AllocationProblem) -> Allocation:
        return replace(GreedyDual().solve(problem), multiplier=self.price)


@pytest.mark.parametrize(
    ("price", "error", "message"),
    [
        (torch.tensor(math.nan), InvalidValueError, "must be >= 0, got nan"),
        (torch.tensor(-0.5), InvalidValueError, "must be >= 0, got -0.5"),
        (0.5, DTypeError, "must be a tensor, got float"),
    ],
)
def test_multipliers_that_are_none_are_refused(price: Any, error: Any, message: str) -> None:
    revenue, cost = torch.rand(2, 4, 3)
    with pytest.raises(error, match=f"the multiplier of AtPrice {message}"):
        Price().find(revenue, cost, AtPrice(price), None)
    with pytest.raises(error, match=f"the multiplier of the solver {message}"):
        Price(solver=Priced(price)).find(revenue, cost, 9.0, None)


@pytest.mark.parametrize("name", sorted({*LAYERS.names()} - {"linear-program"}))
def test_a_budget_gets_its_gradient_or_a_warning(name: str) -> None:
    revenue, cost = torch.rand(2, 8, 3, generator=torch.Generator().manual_seed(0)).cumsum(-1)
    budget = (cost.amin(-1).sum() + 1).requires_grad_()
    if name == "quadratic":
        LAYERS.make(name)(revenue, cost, budget).shares[:, 2].sum().backward()
        assert budget.grad is not None
        return
    layer = LAYERS.make(name)
    with pytest.warns(ZeroGradientWarning, match="held constant. Take Quadratic"):
        layer(revenue, cost, budget)
    with torch.no_grad():
        layer(revenue, cost, budget)
    layer(revenue, cost, budget.detach())
