"""Squared errors that count where they would change a decision."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.errors import InvalidValueError
from dfl.layers import Price
from dfl.layers.pricing.options import Softness
from dfl.losses import CostSensitive, LoggedBatch

FREE = Price(multiplier=0.0)


def loss_of(asymmetry: float) -> CostSensitive:
    return CostSensitive(width=Softness(2.0, "absolute"), asymmetry=asymmetry, price=FREE)


def test_a_case_by_hand() -> None:
    revenue = torch.tensor([[1.0, 3.0], [2.0, 2.5]])
    batch = LoggedBatch(
        torch.tensor([1, 0]), torch.tensor([4.0, 0.0]), torch.zeros(2), torch.tensor([2.0, 2.0])
    )
    # Row 0: best treatment, predicted 1 too low (harm); row 1: another, 2 too high (harm).
    near = [math.exp(-((2 / 2) ** 2) / 2), math.exp(-((0.5 / 2) ** 2) / 2)]
    expected = (2 * near[0] * 1.3 * 1 + 2 * near[1] * 1.3 * 4) / (2 * (2 + 2))
    assert_close(loss_of(0.3)(revenue, torch.zeros(2, 2), batch, 1.0), torch.tensor(expected))
    mild = batch.revenue.new_tensor([2.0, 4.0])  # both errors on the harmless side
    kind = LoggedBatch(batch.treatment, mild, batch.cost, batch.weight)
    expected = (2 * near[0] * 0.7 * 1 + 2 * near[1] * 0.7 * 4) / (1 * (2 + 2))
    assert_close(loss_of(0.3)(revenue, torch.zeros(2, 2), kind, 1.0), torch.tensor(expected))


def slope_at_the_truth(asymmetry: float) -> Tensor:
    """Return the mean slope of each treatment where predictions are the true means."""
    generator = torch.Generator().manual_seed(3)
    treatment = torch.arange(40_000) % 2
    truth = torch.tensor([1.0, 1.5])
    noise = torch.empty(40_000).exponential_(generator=generator) - 1
    batch = LoggedBatch(
        treatment, truth[treatment] + noise, torch.zeros(40_000), torch.full((40_000,), 2.0)
    )
    revenue = truth.expand(40_000, 2).clone().requires_grad_()
    loss = loss_of(asymmetry)(revenue, torch.zeros(40_000, 2), batch, 1.0)
    return torch.autograd.grad(loss, revenue)[0].sum(dim=0)


def test_means_are_learned_without_asymmetry_and_a_margin_with_it() -> None:
    assert float(slope_at_the_truth(0.0).abs().max()) < 0.02
    worse, best = slope_at_the_truth(0.3).tolist()
    assert best < -0.05 < 0.05 < worse  # descent raises the best and lowers the other


def test_a_baseline_says_who_is_near_a_decision() -> None:
    revenue, zero = torch.tensor([[1.0, 3.0], [2.0, 2.5]]), torch.zeros(2, 2)
    columns = torch.tensor([1, 0]), torch.tensor([4.0, 0.0]), torch.zeros(2), torch.ones(2)
    plain = loss_of(0.0)(revenue, zero, LoggedBatch(*columns), 1.0)
    same = LoggedBatch(*columns, baseline_revenue=revenue, baseline_cost=zero)
    assert_close(loss_of(0.0)(revenue, zero, same, 1.0), plain)
    far = LoggedBatch(*columns, baseline_revenue=9 * revenue, baseline_cost=zero)
    assert float(loss_of(0.0)(revenue, zero, far, 1.0)) < 0.5 * float(plain)


@pytest.mark.parametrize("earned", [0.0, 0.1, 3.0])
def test_logged_scores_that_do_not_vary_teach_nothing(earned: float) -> None:
    """A batch in which nobody bought: what is left of a standard deviation is rounding."""
    revenue = torch.tensor([[1.0, 3.0], [2.0, 2.5], [0.5, 0.0]], requires_grad=True)
    batch = LoggedBatch(
        torch.tensor([1, 0, 1]), torch.full((3,), earned), torch.zeros(3), torch.full((3,), 2.0)
    )
    loss = loss_of(0.3)(revenue, torch.zeros(3, 2), batch, 1.0)
    assert loss.item() == 0
    assert not bool(torch.autograd.grad(loss, revenue)[0].any())


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"asymmetry must be .*, got 1"):
        CostSensitive(asymmetry=1.0)
    with pytest.raises(InvalidValueError, match=r"price\.met_by must be"):
        CostSensitive(price=Price(met_by="shares"))
    with pytest.raises(InvalidValueError, match=r"width must be a Softness, got 1\.0"):
        CostSensitive(width=1.0)  # type: ignore[arg-type]
