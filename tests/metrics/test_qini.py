from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from dfl.errors import InvalidValueError, UnsupportedProblemError
from dfl.metrics.qini import normalised_qini, qini
from dfl.stats.bootstrap import Bootstrap


def test_against_the_formula_row_by_row(simulate) -> None:
    data = simulate(50, 2)
    score = data.features[:, 0]
    result = qini(data, score, bootstrap=Bootstrap(draws=5))
    treated = data.treatment == 1
    uplift = [0.0]
    for threshold in sorted(score.tolist(), reverse=True):
        top = score >= threshold
        uplift.append(
            float(data.revenue[top & treated].sum() / treated.sum())
            - float(data.revenue[top & ~treated].sum() / (~treated).sum())
        )
    assert result.uplift.tolist() == pytest.approx(uplift)
    assert result.share.tolist() == pytest.approx([k / 50 for k in range(51)])
    area = sum((a + b) / 2 for a, b in pairwise(uplift)) / 50
    assert result.auuc.value == pytest.approx(area)
    assert result.coefficient.value == pytest.approx(area - uplift[-1] / 2)


def test_a_random_score_has_coefficient_0_within_its_error(simulate) -> None:
    data = simulate(20_000, 2)
    score = torch.rand(20_000, generator=torch.Generator().manual_seed(4))
    coefficient = qini(data, score).coefficient
    assert abs(coefficient.value) < 3 * coefficient.standard_error


def test_a_score_that_knows_is_above_0(simulate) -> None:
    data = simulate(20_000, 2)
    coefficient = qini(data, data.features[:, 0]).coefficient
    # Uplift 3 * strength, strength uniform: area of 3 * (share - share^2 / 2), less 3 / 4.
    assert coefficient.low > 0
    assert coefficient.value == pytest.approx(1 - 0.75, abs=0.05)


def test_inputs_may_lie_on_any_device(simulate, device) -> None:
    data, plan = simulate(100, 2), Bootstrap(draws=5)
    score = data.features[:, 0]
    here, there = (
        qini(d, s, bootstrap=plan) for d, s in ((data, score), (data.to(device), score.to(device)))
    )
    assert there.coefficient.value == here.coefficient.value
    assert there.auuc.standard_error == here.auuc.standard_error


def test_only_two_treatments(simulate) -> None:
    data = simulate(60, 3)
    with pytest.raises(UnsupportedProblemError, match="compare two treatments"):
        qini(data, data.features[:, 0])


def test_normalised_is_the_coefficient_in_units_of_the_whole_effect(simulate) -> None:
    data, plan = simulate(4_000, 2), Bootstrap(draws=20)
    score = data.features[:, 0]
    one, unit = (measure(data, score, bootstrap=plan) for measure in (qini, normalised_qini))
    total = float(one.uplift[-1])
    assert unit.value == pytest.approx(one.coefficient.value / total)
    assert unit.low < unit.value < unit.high
    richer = replace(data, revenue=10 * data.revenue)  # the unit of money plays no part
    assert normalised_qini(richer, score, bootstrap=plan).value == pytest.approx(unit.value)
    flat = normalised_qini(data, torch.zeros(4_000), bootstrap=plan)
    assert flat.value == pytest.approx(0, abs=1e-9)
    robust = normalised_qini(data, score, estimator="doubly-robust", bootstrap=plan)
    assert robust.standard_error < unit.standard_error


def test_a_unit_that_is_not_positive_is_refused(simulate) -> None:
    data = simulate(400, 2)
    harmed = replace(data, revenue=-data.revenue)
    with pytest.raises(InvalidValueError, match="treating everyone must be positive, got -"):
        normalised_qini(harmed, data.features[:, 0], bootstrap=Bootstrap(draws=5))
