"""Scaling to network units and back."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from dfl.data.uplift_data import UpliftData
from dfl.errors import InvalidValueError
from dfl.models import Scaling
from dfl.models.row_statistics import mean_and_spread
from tests.methods.toy import logs


def test_features_and_outcomes_get_unit_scale() -> None:
    rows = logs(2_000)
    scaling = Scaling.fit(rows)
    features = scaling.standardise(rows.features)
    assert_close(features.mean(dim=0), torch.zeros(4), atol=1e-5, rtol=0)
    assert_close(features.std(dim=0, correction=0), torch.ones(4))
    outcomes = scaling.outcomes(rows.revenue, rows.cost)
    assert_close(outcomes[:, 0].std(correction=0), torch.tensor(1.0))
    assert_close(outcomes[:, 1].square().mean(), torch.tensor(1.0))


def test_currency_undoes_outcomes() -> None:
    rows = logs(500)
    scaling = Scaling.fit(rows)
    outcomes = scaling.outcomes(rows.revenue, rows.cost)
    revenue, cost = scaling.currency(outcomes[:, :, None].expand(-1, -1, 3))
    assert_close(revenue[:, 1], rows.revenue)
    assert_close(cost[:, 1], rows.cost)


def test_a_constant_feature_stays_finite() -> None:
    rows = logs(500)
    rows.features[:, 0] = 7
    standardised = Scaling.fit(rows).standardise(rows.features)
    assert_close(standardised[:, 0], torch.zeros(500))


@pytest.mark.parametrize("columns", [(), (1,), (3,)])
def test_a_constant_that_rounding_would_move_has_no_spread(columns: tuple[int, ...]) -> None:
    mean, spread = mean_and_spread(torch.full((1_000, *columns), 0.1))
    assert torch.equal(mean, torch.full(columns, 0.1))
    assert torch.equal(spread, torch.zeros(columns))


def test_revenue_that_is_the_same_everywhere_is_refused() -> None:
    rows = logs(1_000)
    with pytest.raises(InvalidValueError, match="revenue must vary, got the same value in every"):
        Scaling.fit(replace(rows, revenue=torch.full_like(rows.revenue, 0.1)))


@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_costs_whose_squares_no_float_holds_are_scaled(unit: float) -> None:
    rows = logs(500)
    usual, found = (Scaling.fit(replace(rows, cost=rows.cost * by)) for by in (1, unit))
    assert_close(found.cost_scale / unit, usual.cost_scale)
    assert torch.equal(usual.cost_scale, rows.cost.square().mean().sqrt())


def test_constant_costs_are_known_but_not_from_few_rows() -> None:
    assert Scaling.fit(logs(1_000)).fixed_cost.isnan().tolist() == [False, True, True]
    assert bool(Scaling.fit(logs(60)).fixed_cost.isnan().all())


def test_stacked_scalings_serve_each_network_its_own() -> None:
    first, second = Scaling.fit(logs(500)), Scaling.fit(logs(500, seed=1))
    outcomes = torch.randn(2, 10, 2, 3, generator=torch.Generator().manual_seed(0))
    revenue, cost = Scaling.stack([first, second]).currency(outcomes)
    for k, scaling in enumerate((first, second)):
        assert_close(revenue[k], scaling.currency(outcomes[k])[0])
        assert_close(cost[k], scaling.currency(outcomes[k])[1])


def with_ranks(column: list[float]) -> tuple[Scaling, UpliftData]:
    rows = logs(len(column))
    rows.features[:, 0] = torch.tensor(column)
    return Scaling.fit(rows, ranks=True), rows


def test_ranks_count_the_rows_below_and_half_of_the_equal() -> None:
    column = [0.0] * 300 + [float(value) for value in range(1, 101)]
    scaling, rows = with_ranks(column)
    found = scaling.standardise(rows.features)
    assert found.shape == (400, scaling.width) == (400, 12)
    ordered = torch.tensor(column)
    below = (ordered[None, :] < ordered[:, None]).double().mean(dim=1)
    equal = (ordered[None, :] == ordered[:, None]).double().mean(dim=1)
    assert_close(found[:, 4].double(), 2 * (below + equal / 2) - 1, atol=0.02, rtol=0)
    assert_close(found[:, 8], 2 * (ordered != 0).float() - 1)
    assert_close(found[:, :4], Scaling.fit(rows).standardise(rows.features))


def test_ranks_end_at_the_ends_of_the_training_rows() -> None:
    scaling, rows = with_ranks([float(value) for value in range(300)])
    far = rows.features[:2].clone()
    far[:, 0] = torch.tensor([-1e30, 1e30])
    assert_close(scaling.standardise(far)[:, 4], torch.tensor([-1.0, 1.0]))


def test_a_value_that_few_rows_share_is_no_mode() -> None:
    scaling, _ = with_ranks([float(value) for value in range(300)])
    assert bool(scaling.mode.isnan().all())
