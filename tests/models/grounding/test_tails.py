"""Outcomes without the few values that would decide about everything."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.models.grounding.tails import largest_mean, without_tail


def draw(spread: float, rows: int = 20_000) -> tuple[Tensor, Tensor]:
    """Purchases by a fifth of the people, baskets lognormal; two treatments."""
    generator = torch.Generator().manual_seed(0)
    basket = (spread * torch.randn(rows, generator=generator)).exp()
    bought = torch.rand(rows, generator=generator) < 0.2
    return basket * bought, torch.randint(2, (rows,), generator=generator)


def test_sizes_are_cut_at_the_quantile_of_what_is_not_zero_and_the_total_stays() -> None:
    outcome = torch.cat([torch.zeros(100), torch.arange(1.0, 101.0)])
    cut, bound, fall = without_tail(outcome, torch.zeros(200, dtype=torch.int64), 1)
    expected = outcome.clamp(max=95)
    expected = expected * (outcome.sum() / expected.sum())
    assert bound == 95
    assert_close(cut, expected)
    assert fall == pytest.approx(float(outcome.var() / expected.var()))
    assert cut.dtype == outcome.dtype


@pytest.mark.parametrize(("spread", "low", "high"), [(0.4, 1.0, 1.5), (2.0, 4.0, 30.0)])
def test_only_a_heavy_tail_is_worth_cutting(spread: float, low: float, high: float) -> None:
    _, _, fall = without_tail(*draw(spread), 2)
    assert low < fall < high


def test_a_treatment_that_is_rare_and_dear_is_not_cut_down_to_the_others() -> None:
    treatment = torch.arange(1_000) % 100 == 0
    cost = torch.where(treatment, 50.0, 0.1)
    cut, bound, fall = without_tail(cost, treatment.long(), 2)
    assert bound == 50
    assert_close(cut, cost)
    assert fall == pytest.approx(1.0)


def test_losses_are_cut_as_gains_are() -> None:
    outcome, treatment = draw(2.0)
    cut, bound, fall = without_tail(outcome, treatment, 2)
    mirrored, same_bound, same_fall = without_tail(-outcome, treatment, 2)
    assert_close(mirrored, -cut)
    assert same_bound == bound
    assert same_fall == pytest.approx(fall)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_constant_outcomes_are_left_alone(value: float) -> None:
    outcome = torch.full((10,), value)
    cut, _, fall = without_tail(outcome, torch.zeros(10, dtype=torch.int64), 2)
    assert_close(cut, outcome)
    assert fall == 1


def test_the_largest_mean_is_that_of_people_alike_in_some_feature() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2_000, 3, generator=generator)
    who = features[:, 1].argsort()[-100:]
    outcome = torch.ones(2_000)
    outcome[who] = -torch.linspace(4.0, 6.0, 100)
    error = float(outcome[who].double().std(correction=0)) / 10
    assert largest_mean(features, outcome) == pytest.approx(5.0 - 2 * error)
    order = torch.randperm(2_000, generator=generator)
    assert largest_mean(features[order], outcome[order]) == pytest.approx(5.0 - 2 * error)


def test_one_huge_outcome_makes_no_group_large() -> None:
    outcome, features = torch.ones(400), torch.arange(400.0)[:, None]
    outcome[7] = 1e6
    assert largest_mean(features, outcome) == pytest.approx(1.0)


@pytest.mark.parametrize("rows", [2, 30])
def test_groups_of_one_value_or_of_a_row_are_groups_too(rows: int) -> None:
    alike = torch.ones(rows)
    assert largest_mean(torch.zeros(rows, 2), alike) == 1
    assert largest_mean(torch.arange(float(rows))[:, None], alike) == 1
    assert largest_mean(torch.zeros(rows, 0), alike) == 0
