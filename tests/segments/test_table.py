"""Segment tables: plain and doubly robust means, their errors, shapes."""

import pytest
import torch

from dfl.data import UpliftData
from dfl.errors import InvalidValueError, ShapeError
from dfl.models import Prediction
from dfl.segments import SegmentTable
from dfl.segments.shape import shaped
from tests.methods.toy import ARMS, logs, outcomes


def golden() -> tuple[UpliftData, torch.Tensor]:
    """Two clusters of six, each treatment twice in each."""
    treatment = torch.tensor([0, 0, 1, 1, 2, 2] * 2)
    revenue = torch.tensor([1.0, 0, 2, 1, 2, 2, 0, 0, 1, 0, 3, 1])
    cost = torch.tensor([0, 0, 0.2, 0.1, 0.5, 0.4, 0, 0, 0.1, 0, 0.6, 0.3])
    segment = torch.tensor([0] * 6 + [1] * 6)
    return UpliftData(segment[:, None].float(), treatment, revenue, cost, 3, "rct"), segment


def test_the_golden_case() -> None:
    rows, segment = golden()
    table = SegmentTable.of(rows, segment, 2, shrinkage=False)
    wanted = torch.tensor([[0.5, 1.5, 2], [0, 0.5, 2]]).double()
    torch.testing.assert_close(table.revenue, wanted)
    wanted = torch.tensor([[0, 0.15, 0.45], [0, 0.05, 0.45]]).double()
    torch.testing.assert_close(table.cost, wanted)
    choice = torch.tensor([1, 2])
    own = torch.arange(2)
    assert float(table.share @ table.revenue[own, choice]) == pytest.approx(1.75)
    assert float(table.share @ table.cost[own, choice]) == pytest.approx(0.30)


def test_errors_are_those_of_means() -> None:
    rows = logs(6_000, seed=1)
    segment = (rows.features[:, 1] > 0).long()
    table = SegmentTable.of(rows, segment, 2, shrinkage=False)
    for k in range(2):
        for arm in range(ARMS):
            own = rows.revenue[(segment == k) & (rows.treatment == arm)].double()
            assert int(table.rows[k, arm]) == len(own)
            assert float(table.revenue[k, arm]) == pytest.approx(float(own.mean()))
            error = float(own.std()) / len(own) ** 0.5
            assert float(table.revenue_error[k, arm]) == pytest.approx(error, rel=1e-6)


def test_good_predictions_make_the_table_surer_and_bad_ones_do_no_harm() -> None:
    generator = torch.Generator().manual_seed(0)
    plain, robust, misled = [], [], []
    everyone = logs(200_000, seed=99).features
    segment_of = lambda x: (x[:, 0] > 0).long()  # noqa: E731
    truth = torch.stack(
        [outcomes(everyone)[0][segment_of(everyone) == k].mean(dim=0) for k in range(2)]
    ).double()
    for seed in range(30):
        rows = logs(900, seed=seed)
        segment = segment_of(rows.features)
        guess = Prediction(*outcomes(rows.features))
        noise = torch.randn(len(rows), ARMS, generator=generator)
        bad = Prediction(5 + 3 * rows.features[:, [3]] + noise, guess.cost)
        for found, given in ((plain, None), (robust, guess), (misled, bad)):
            table = SegmentTable.of(rows, segment, 2, given, shrinkage=False)
            found.append(table.revenue - truth)
    spread = [float(torch.stack(one).square().mean()) for one in (plain, robust, misled)]
    assert spread[1] < 0.7 * spread[0]
    assert float(torch.stack(misled).mean(dim=0).abs().max()) < 0.12


@pytest.mark.parametrize("reach", [0.5, 1.5])
def test_errors_are_right_of_predictions_that_fall_short_or_run_ahead(reach: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100_000, 1, generator=generator)
    treatment, segment = torch.arange(100_000) % 2, torch.arange(100_000) // 100
    revenue = x[:, 0] + 0.3 * torch.randn(100_000, generator=generator)  # 0 on average
    rows = UpliftData(x, treatment, revenue, treatment.float(), 2, "rct")
    guess = Prediction(reach * x.expand(-1, 2), torch.zeros(100_000, 2))
    table = SegmentTable.of(rows, segment, 1_000, guess, shrinkage=False)
    spread, said = (one.square().mean().sqrt() for one in (table.revenue, table.revenue_error))
    assert float(said / spread) == pytest.approx(1, abs=0.05)


def test_small_cells_take_the_pooled_covariance() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4_000, 1, generator=generator)
    treatment, segment = torch.arange(4_000) % 2, torch.arange(4_000) // 40  # 20 rows a cell
    rows = UpliftData(x, treatment, x[:, 0], treatment.float(), 2, "rct")
    guess = Prediction(0.5 * x.expand(-1, 2), torch.zeros(4_000, 2))
    table = SegmentTable.of(rows, segment, 100, guess, shrinkage=False)
    # A residual of .5 x: variance .25 / 20 + .25 / 40 of both terms, and twice .25 / 40.
    mean = float(table.revenue_error.square().mean())
    assert mean == pytest.approx(0.25 / 20 + 0.75 / 40, rel=0.1)
    assert bool((table.cost_error == 0).all())


def test_rows_of_a_group_count_together() -> None:
    one = logs(3_000, seed=2)
    index = torch.arange(3_000).repeat_interleave(4)
    rows = UpliftData(
        one.features[index], one.treatment[index], one.revenue[index], one.cost[index], ARMS, "rct",
        groups=index,
    )  # fmt: skip
    segment = torch.zeros(len(rows), dtype=torch.int64)
    guess = [
        Prediction(0.5 * revenue, cost)
        for revenue, cost in (outcomes(each.features) for each in (rows, one))
    ]
    for ours, theirs in ((None, None), guess):
        table = SegmentTable.of(rows, segment, 1, ours, shrinkage=False)
        alone = SegmentTable.of(one, segment[:3_000], 1, theirs, shrinkage=False)
        torch.testing.assert_close(table.revenue_error, alone.revenue_error, rtol=2e-3, atol=0)


def test_cells_of_few_groups_know_how_alike_their_rows_are() -> None:
    """Six cities in each cell, forty rows of a city: intervals hold the truth."""
    held = []
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        city = torch.arange(480) // 40
        arm = (torch.randperm(12, generator=generator) % 2)[city]
        revenue = 0.5 * torch.randn(12, generator=generator)[city]
        revenue = revenue + torch.randn(480, generator=generator)
        rows = UpliftData(
            torch.zeros(480, 1), arm, revenue, torch.zeros(480), 2, "rct", groups=city
        )
        table = SegmentTable.of(rows, torch.arange(480) % 2, 2, shrinkage=False)
        held.append(table.revenue.abs() <= 1.96 * table.revenue_error)
    assert 0.91 <= float(torch.stack(held).double().mean()) <= 0.97


@pytest.mark.parametrize("cities", [1, 2])
def test_a_cell_of_one_group_is_not_known_for_sure(cities: int) -> None:
    generator = torch.Generator().manual_seed(0)
    revenue, arm = torch.randn(400, generator=generator), torch.arange(400) % 2
    segment = torch.arange(400) // 2 % 2
    group = torch.where(segment == 1, 0, torch.arange(400)) if cities > 1 else torch.zeros_like(arm)
    rows = UpliftData(torch.zeros(400, 1), arm, revenue, arm.float(), 2, "rct", groups=group)
    error = SegmentTable.of(rows, segment, 2, shrinkage=False).revenue_error
    assert float(error.min()) > 0.05
    if cities == 1:  # nobody can say how alike the rows of a group are: each is one
        assert float(error.min()) == pytest.approx(1, abs=0.2)


def test_empty_cells_and_segments_are_filled() -> None:
    rows, segment = golden()
    few = rows.subset(torch.tensor([0, 1, 2, 3, 4, 5, 6, 7]))
    table = SegmentTable.of(few, segment[:8], 3)
    for column in (table.revenue, table.cost, table.revenue_error, table.cost_error):
        assert column.shape == (3, 3)
        assert bool(column.isfinite().all())
    assert table.share.tolist() == [0.75, 0.25, 0]
    assert bool((table.cost >= 0).all())


def test_unequal_chances_are_weighed() -> None:
    rows = logs(40_000, seed=5)
    chance = torch.where(rows.features[:, :1] > 0, 0.8, 0.2)
    drop = torch.rand(40_000, generator=torch.Generator().manual_seed(1))
    kept = (rows.treatment != 1) | (drop < chance[:, 0])
    share = torch.cat([torch.ones_like(chance), chance, torch.ones_like(chance)], dim=1)
    known = UpliftData(
        rows.features[kept], rows.treatment[kept], rows.revenue[kept], rows.cost[kept], ARMS, "rct",
        propensity=(share / share.sum(1, keepdim=True))[kept],
    )  # fmt: skip
    one = torch.zeros(len(known), dtype=torch.int64)
    # Who is kept is part of the sample; within it, weights undo who got what.
    table = SegmentTable.of(known, one, 1, shrinkage=False)
    truth = outcomes(known.features)[0].mean(dim=0).double()
    assert float((table.revenue[0] - truth).abs().max()) < 0.05


def test_shapes() -> None:
    revenue = torch.tensor([[1.0, 3, 2, 2.6]]).double()
    cost = torch.tensor([[0.0, 1, 2, 3]]).double()
    rows, order = torch.ones(1, 4), torch.arange(4)
    assert shaped(revenue, cost, rows, order, "free")[0].equal(revenue)
    rising, _ = shaped(revenue, cost, rows, order, "monotone")
    torch.testing.assert_close(rising, torch.tensor([[1, 2.5, 2.5, 2.6]]).double())
    hull, same = shaped(revenue, cost, rows, order, "concave")
    torch.testing.assert_close(hull, torch.tensor([[1, 2.5, 2.55, 2.6]]).double())
    assert same.equal(cost)
    shuffled = torch.tensor([2, 0, 3, 1])
    back = shaped(revenue[:, shuffled], cost[:, shuffled], rows, shuffled.argsort(), "monotone")
    torch.testing.assert_close(back[0], rising[:, shuffled])
    with pytest.raises(InvalidValueError, match="shape must be one of"):
        shaped(revenue, cost, rows, order, "round")  # type: ignore[arg-type]


def test_wrong_segments_and_predictions_are_refused() -> None:
    rows, segment = golden()
    with pytest.raises(ShapeError, match=r"segment must be \(12,\)"):
        SegmentTable.of(rows, segment[:5], 2)
    with pytest.raises(InvalidValueError, match=r"segment must lie in 0 \.\. 0"):
        SegmentTable.of(rows, segment, 1)
    good, few = torch.zeros(12, 3), torch.zeros(12, 2)
    for revenue, cost, name in ((few, good, "revenue"), (good, good[:5], "cost")):
        with pytest.raises(ShapeError, match=rf"predicted {name} must be \(12, 3\)"):
            SegmentTable.of(rows, segment, 2, Prediction(revenue, cost))
