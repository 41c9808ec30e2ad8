from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch

from dfl.errors import InvalidValueError, ShapeError, UnsupportedProblemError
from dfl.metrics.rate import rate
from dfl.stats.bootstrap import Bootstrap

FEW = Bootstrap(draws=20)


def test_against_the_true_curve(simulate) -> None:
    # Gain 3 * strength with strength uniform: those above 1 - u gain 3 * (1 - u / 2) per head.
    data = simulate(40_000, 2)
    score = data.features[:, 0]
    found = rate(data, score, bootstrap=FEW)
    share = found.share[4000:]
    assert found.toc[4000:].numpy() == pytest.approx((1.5 - 1.5 * share).numpy(), abs=0.1)
    assert float(found.toc[-1]) == 0
    for weighting, truth in (("autoc", 0.75), ("qini", 0.25)):
        area = rate(data, score, weighting=weighting, bootstrap=FEW).estimate
        assert abs(area.value - truth) < 3 * area.standard_error
        reverse = rate(data, -score, weighting=weighting, bootstrap=FEW).estimate
        assert reverse.high < 0


def test_a_score_that_says_nothing_has_exactly_none(simulate) -> None:
    found = rate(simulate(300, 2), torch.ones(300), bootstrap=FEW).estimate
    assert found.value == pytest.approx(0, abs=1e-12)
    assert found.standard_error < 1e-12


def test_ties_are_the_mean_over_all_their_orders(simulate) -> None:
    data = replace(simulate(6, 2), treatment=torch.arange(6) % 2)
    score, two = torch.tensor([1.0, 2.0, 1.0, 1.0, 0.0, 0.0]), Bootstrap(draws=2)
    broken = torch.stack(
        [
            rate(data, score + 0.01 * torch.tensor(order), bootstrap=two).toc
            for order in permutations(range(6))
        ]
    )
    found = rate(data, score, bootstrap=two).toc
    assert found.numpy() == pytest.approx(broken.mean(dim=0).numpy(), abs=1e-9)
    assert bool((broken.std(dim=0)[1:3] > 0).all())


def test_propensities_may_differ_and_a_constant_does_not_matter(simulate) -> None:
    data = simulate(20_000, 2, known_propensity=True)
    rich = replace(data, revenue=data.revenue + 1000)
    found, moved = (rate(one, data.features[:, 0], bootstrap=FEW).estimate for one in (data, rich))
    assert abs(found.value - 0.75) < 3 * found.standard_error
    assert moved.value == pytest.approx(found.value)
    assert moved.standard_error == pytest.approx(found.standard_error)


def test_the_order_of_the_rows_does_not_matter(simulate) -> None:
    data = simulate(300, 2)
    score = (4 * data.features[:, 0]).round()
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    found, moved = (
        rate(d, s, bootstrap=FEW).toc
        for d, s in ((data, score), (data.subset(order), score[order]))
    )
    assert moved.numpy() == pytest.approx(found.numpy(), abs=1e-9)
    assert np.isfinite(found.numpy()).all()


def test_a_score_is_taken_with_its_graph(simulate) -> None:
    data = simulate(60, 2)
    score = data.features[:, 0].half()
    found = rate(data, score.clone().requires_grad_()).estimate
    assert found.value == rate(data, score.double()).estimate.value


def test_bad_input(simulate) -> None:
    data = simulate(60, 2)
    score = data.features[:, 0]
    with pytest.raises(UnsupportedProblemError, match="RATE compares two treatments, got 3"):
        rate(simulate(60, 3), score)
    with pytest.raises(ShapeError, match=r"score must be \(60,\)"):
        rate(data, score[1:])
    with pytest.raises(InvalidValueError, match="score must be finite"):
        rate(data, score * torch.nan)
    with pytest.raises(InvalidValueError, match="weighting must be one of 'autoc', 'qini'"):
        rate(data, score, weighting="all")
