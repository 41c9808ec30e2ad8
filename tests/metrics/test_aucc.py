from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dfl.data import CriteoLikeSimulator
from dfl.data.uplift_data import PotentialOutcomes, UpliftData
from dfl.errors import InvalidValueError, ShapeError, UnsupportedProblemError
from dfl.metrics.aucc import aucc, cost_curve, true_aucc
from dfl.metrics.qini import qini
from dfl.metrics.roi_score import roi_score
from dfl.stats.bootstrap import Bootstrap


def experiment(treatment: list[int], revenue: list[float], cost: list[float]) -> UpliftData:
    columns = (torch.tensor(x, dtype=torch.float64) for x in (revenue, cost))
    features = torch.zeros(len(treatment), 1, dtype=torch.float64)
    return UpliftData(features, torch.tensor(treatment), *columns, treatments=2, source="rct")


GOLDEN = experiment(
    [1, 0, 1, 1, 0, 1, 0, 1, 1, 0, 1, 0],
    [1, 0, 1, 0, 0, 1, 1, 0, 1, 0, 0, 0],
    [1, 0, 1, 1, 1, 1, 0, 1, 0, 0, 1, 1],
)
SCORE = torch.tensor([0.95, 0.9, 0.85, 0.8, 0.7, 0.65, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]).double()


@pytest.mark.parametrize(
    ("quantiles", "sign", "area", "points"),
    [(2, 1, 0.5897436, 3), (4, 1, 0.5846154, 5), (4, -1, 0.3692308, 4)],
)
def test_golden_area(quantiles: int, sign: int, area: float, points: int) -> None:
    curve = cost_curve(GOLDEN, sign * SCORE, quantiles=quantiles)
    assert curve.area == pytest.approx(area, abs=1e-7)
    assert len(curve.cost) == len(curve.revenue) == points


def test_golden_curve() -> None:
    curve = cost_curve(GOLDEN, SCORE, quantiles=4)
    assert curve.cost.tolist() == pytest.approx(
        [0, 0.142857, 0.285714, 0.428571, 0.457143], abs=1e-6
    )
    assert curve.revenue.tolist() == pytest.approx(
        [0, 0.142857, 0.285714, 0.285714, 0.371429], abs=1e-6
    )


def scan_row_by_row(data: UpliftData, score: torch.Tensor, quantiles: int) -> list[float]:
    """The published scan as it reads, one row at a time; returns the kept costs."""
    order = sorted(range(len(data)), key=lambda row: -float(score[row]))
    treated = int((data.treatment == 1).sum())
    sizes = {1: treated, 0: len(data) - treated}
    sign = {1: 1 / sizes[1], 0: -1 / sizes[0]}
    adds = [sign[int(data.treatment[row])] * float(data.cost[row]) for row in range(len(data))]
    for value in score.unique():  # averaged over its orders, everyone in a tie adds the same
        tie = (score == value).nonzero()[:, 0].tolist()
        mean = sum(adds[row] for row in tie) / len(tie)
        adds = [mean if row in tie else one for row, one in enumerate(adds)]
    cost = 0.0
    total = sum(
        (1 if arm else -1) * float(data.cost[data.treatment == arm].sum()) / sizes[arm]
        for arm in (0, 1)
    )
    kept, goal = [0.0], 1
    for place, row in enumerate(order):
        cost += adds[row]
        last = place == len(order) - 1
        if last or (goal < quantiles and cost >= goal * total / quantiles - 1e-12):
            kept.append(cost)
            goal += 1
    return kept


@given(seed=st.integers(0, 10_000), quantiles=st.integers(1, 30), ties=st.booleans())
def test_the_scan_equals_the_published_loop(
    simulate, seed: int, quantiles: int, ties: bool
) -> None:
    data = simulate(40, 2, seed=seed)
    # Costs also without treatment, so that the running cost falls in places.
    generator = torch.Generator().manual_seed(seed)
    extra = torch.randint(0, 3, (40,), generator=generator).double() / 2
    data = replace(data, cost=data.treatment + extra, revenue=data.revenue + 9 * data.treatment)
    score = torch.rand(40, generator=generator)
    score = (3 * score).round() if ties else score
    curve = cost_curve(data, score, quantiles=quantiles)
    assert curve.cost.tolist() == pytest.approx(scan_row_by_row(data, score, quantiles))


def test_the_order_of_rows_with_equal_scores_does_not_matter() -> None:
    # Sorted by arm, as warehouses export: the file's order said who was treated.
    generator = np.random.default_rng(0)
    treatment, kind = generator.integers(0, 2, (2, 3000))
    revenue = 5 + kind + treatment * (1 + kind) + generator.normal(size=3000)
    areas = []
    for order in (np.arange(3000), np.argsort(treatment), np.argsort(-treatment)):
        rows = [column[order].tolist() for column in (treatment, revenue, treatment * 1.0)]
        data, plan = experiment(*rows), Bootstrap(draws=20)
        score = torch.from_numpy(kind[order]).double()
        areas.append(aucc(data, score, bootstrap=plan).value)
        assert aucc(data, torch.zeros(3000), bootstrap=plan).value == pytest.approx(0.5, abs=0.003)
        assert qini(data, torch.zeros(3000), bootstrap=plan).coefficient.value == pytest.approx(0)
        assert qini(data, torch.zeros(3000), bootstrap=plan).coefficient.standard_error < 1e-12
    assert areas == pytest.approx([areas[0]] * 3)


def test_a_constant_on_all_revenue_does_not_touch_the_adjusted_area(simulate) -> None:
    data, plan = simulate(2000, 2), Bootstrap(draws=50)
    score = data.features[:, 0]
    rich = replace(data, revenue=data.revenue + 1000)
    found, moved = (
        aucc(one, score, estimator="doubly-robust", bootstrap=plan) for one in (data, rich)
    )
    raw = aucc(data, score, bootstrap=plan)
    assert moved.value == pytest.approx(found.value)
    assert moved.standard_error == pytest.approx(found.standard_error)
    assert found.standard_error < raw.standard_error
    assert abs(found.value - raw.value) < 3 * raw.standard_error


@pytest.mark.parametrize("rows", [30, 100, 199, 200])
@pytest.mark.parametrize("quantiles", [200, 1_000_000])
def test_a_score_that_says_nothing_has_half_of_any_number_of_rows(
    simulate, rows: int, quantiles: int
) -> None:
    data = simulate(rows, 2)
    nothing = cost_curve(data, torch.zeros(rows), quantiles=quantiles)
    assert nothing.area == pytest.approx(0.5)
    generator = torch.Generator().manual_seed(0)
    truth = PotentialOutcomes(*torch.rand(2, rows, 2, generator=generator).cumsum(dim=2))
    assert true_aucc(truth, torch.zeros(rows), quantiles=quantiles) == pytest.approx(0.5)
    orders = [torch.randperm(rows, generator=generator) for _ in range(50)]
    areas = [true_aucc(truth, order, quantiles=quantiles) for order in orders]
    assert abs(np.mean(areas) - 0.5) < 3 * np.std(areas) / 50**0.5 + 1 / quantiles


def test_more_parts_than_rows_keep_every_row(simulate) -> None:
    data = simulate(60, 2)
    score = data.features[:, 0]
    curve = cost_curve(data, score, quantiles=61)
    assert len(curve.cost) == len(curve.revenue) == 61
    assert curve.area == cost_curve(data, score, quantiles=100_000).area
    assert curve.area + cost_curve(data, -score, quantiles=61).area == pytest.approx(1)


def test_draws_of_whole_groups_keep_the_form_of_the_logged_rows() -> None:
    """Draws have from 150 to 250 rows, some above ``quantiles``, where the published form ends."""
    generator = torch.Generator().manual_seed(0)
    size = torch.randint(1, 4, (100,), generator=generator)
    groups = torch.arange(100).repeat_interleave(size)
    ones = torch.ones(len(groups), dtype=torch.float64)
    logged = experiment((groups % 2).tolist(), *2 * [(groups % 2 * ones).tolist()])
    found = aucc(replace(logged, groups=groups), ones, quantiles=len(groups) + 1)
    assert found.value == pytest.approx(0.5)
    assert found.standard_error == pytest.approx(0, abs=1e-9)


def test_two_rows_are_enough_for_a_curve_and_too_few_for_an_error() -> None:
    data = experiment([0, 1], [0.0, 1.0], [0.0, 1.0])
    curve = cost_curve(data, torch.tensor([0.0, 1.0]), quantiles=2)
    assert curve.revenue.tolist() == [0, 1, 1]
    assert cost_curve(data, torch.zeros(2), quantiles=2).revenue.tolist() == [0, 0.5, 1]
    with pytest.raises(InvalidValueError, match="every treatment in at least 2 rows"):
        aucc(data, torch.zeros(2))


def test_equal_costs_have_no_area(simulate) -> None:
    data = simulate(60, 2)
    same = replace(data, cost=torch.ones_like(data.cost))
    with pytest.raises(InvalidValueError, match="the total cost effect of treating everyone must"):
        cost_curve(same, data.features[:, 0])
    for amount in (0.1, 0.3, 0.7):  # whose sums over the arms differ by rounding
        same = replace(data, cost=torch.full_like(data.cost, amount))
        with pytest.raises(InvalidValueError, match=r"effect .* must be positive, got 0 per head"):
            cost_curve(same, data.features[:, 0])


def test_the_curve_may_fall_for_longer_than_the_first_look_ahead() -> None:
    # The first row passes both goals; the second pulls the cost below them for 300 rows.
    treatment = [1] + [0] * 300 + [1] * 99
    cost = [150.0, 150.0] + [0.0] * 299 + [1.0] * 99
    data = experiment(treatment, [float(t) for t in treatment], cost)
    score = torch.arange(400).flip(0).double()
    curve = cost_curve(data, score, quantiles=3)
    assert curve.cost.tolist() == pytest.approx(scan_row_by_row(data, score, 3))


def test_a_random_score_has_half_within_its_error(simulate) -> None:
    data = simulate(20_000, 2)
    score = torch.rand(20_000, generator=torch.Generator().manual_seed(4))
    estimate = aucc(data, score)
    assert abs(estimate.value - 0.5) < 3 * estimate.standard_error
    assert 0 < estimate.standard_error < 0.05


def test_a_score_that_knows_beats_half(simulate) -> None:
    data = simulate(20_000, 2)
    strength = data.features[:, 0]
    good, bad = aucc(data, strength), aucc(data, -strength)
    assert good.low > 0.5 > bad.high
    assert good.value + bad.value == pytest.approx(1, abs=0.03)


def test_the_standard_error_is_the_spread_over_fresh_samples(simulate) -> None:
    sets = [simulate(1500, 2, seed=seed) for seed in range(60)]
    values = [cost_curve(data, data.features[:, 0]).area for data in sets]
    error = np.mean(
        [aucc(d, d.features[:, 0], bootstrap=Bootstrap(draws=60)).standard_error for d in sets[:8]]
    )
    assert error == pytest.approx(np.std(values), rel=0.3)


def test_currency_does_not_matter(simulate) -> None:
    data = simulate(500, 2)
    cents = replace(data, revenue=100 * data.revenue, cost=100 * data.cost)
    score = data.features[:, 0]
    assert cost_curve(cents, score).area == pytest.approx(cost_curve(data, score).area)


def test_total_effects_must_be_positive(simulate) -> None:
    data = simulate(500, 2)
    score = data.features[:, 0]
    backwards = replace(data, treatment=1 - data.treatment)
    with pytest.raises(InvalidValueError, match="undefined: the total cost effect of treating"):
        cost_curve(backwards, score)
    harmful = replace(data, revenue=-data.revenue)
    with pytest.raises(InvalidValueError, match="undefined: the total revenue effect of treating"):
        cost_curve(harmful, score)


def test_an_effect_that_may_be_0_has_no_interval(simulate) -> None:
    data = simulate(500, 2)
    faint = replace(data, revenue=torch.randn(500).double() + 0.02 * data.treatment)
    shift = faint.revenue[data.treatment == 0].mean() - faint.revenue[data.treatment == 1].mean()
    faint = replace(faint, revenue=faint.revenue + (shift + 0.02) * data.treatment)
    with pytest.raises(InvalidValueError, match="undefined: the total revenue effect"):
        aucc(faint, data.features[:, 0])


def test_bad_input(simulate) -> None:
    data = simulate(60, 2)
    score = data.features[:, 0]
    with pytest.raises(InvalidValueError, match="quantiles must be >= 1, got 0"):
        cost_curve(data, score, quantiles=0)
    with pytest.raises(UnsupportedProblemError, match="two treatments, got 3"):
        aucc(simulate(60, 3), score)
    with pytest.raises(ShapeError, match=r"score must be \(60,\), one per row, got \(59,\)"):
        aucc(data, score[1:])


def effects(revenue: list[float], cost: list[float]) -> PotentialOutcomes:
    """People whose treatment adds this much."""
    adds = (torch.tensor(one, dtype=torch.float64) for one in (revenue, cost))
    return PotentialOutcomes(*(torch.stack([torch.ones(len(x)) * 2, 2 + x], dim=1) for x in adds))


def test_the_true_area_by_hand() -> None:
    truth = effects([3, 0, 2, 1], [1, 1, 1, 1])
    best, worst = torch.tensor([4.0, 1, 3, 2]), torch.tensor([1.0, 4, 2, 3])
    assert true_aucc(truth, best, quantiles=4) == pytest.approx((3 + 5 + 6 + 6) / (6 * 5))
    assert true_aucc(truth, worst, quantiles=4) == pytest.approx((0 + 1 + 3 + 6) / (6 * 5))
    assert true_aucc(truth, torch.zeros(4), quantiles=4) == pytest.approx(0.5)


def test_scores_and_truth_are_taken_with_their_graph(simulate) -> None:
    data = simulate(60, 2)
    score, truth = data.features[:, 0].bfloat16(), data.truth
    assert truth is not None
    with_graph = score.clone().requires_grad_()
    graph = PotentialOutcomes(truth.revenue.clone().requires_grad_(), truth.cost)
    assert true_aucc(graph, with_graph) == true_aucc(truth, score.double())
    for metric in (lambda score: aucc(data, score), lambda score: qini(data, score).auuc):
        assert metric(with_graph).value == metric(score.double()).value


def test_the_true_area_is_what_the_observed_one_estimates() -> None:
    generator = torch.Generator().manual_seed(0)
    data = CriteoLikeSimulator(noise=0.1).draw(60_000, generator=generator)
    assert data.truth is not None
    score = roi_score(data.truth.revenue, data.truth.cost)
    true, seen = true_aucc(data.truth, score), aucc(data, score, bootstrap=Bootstrap(draws=30))
    assert abs(true - seen.value) < 4 * seen.standard_error < 0.2
    assert true_aucc(data.truth, data.features[:, 0]) < true


@pytest.mark.parametrize(
    ("score", "arms", "error", "message"),
    [
        (torch.zeros(3), 2, ShapeError, r"score must be \(4,\), one per row, got \(3,\)"),
        (torch.tensor([0.0, 1, 2, float("nan")]), 2, InvalidValueError, "score must be finite"),
        (torch.zeros(4), 3, UnsupportedProblemError, "AUCC compares two treatments, got 3"),
    ],
)
def test_bad_input_of_the_true_area(
    score: torch.Tensor, arms: int, error: type[Exception], message: str
) -> None:
    truth = PotentialOutcomes(torch.ones(4, arms), torch.ones(4, arms))
    with pytest.raises(error, match=message):
        true_aucc(truth, score)


def test_no_true_area_without_effects() -> None:
    with pytest.raises(InvalidValueError, match="AUCC is undefined"):
        true_aucc(effects([0, 0], [1, 1]), torch.tensor([1.0, 2.0]))
