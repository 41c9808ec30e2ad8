"""Shrinkage against cases worked out by hand."""

import pytest
import torch

from dfl.errors import InvalidValueError
from dfl.segments.shrinkage import shrink


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_equal_errors_by_hand() -> None:
    # Means 1, 2, 3 with variance .1 each: weights 10, mean 2, Q = 10 (1 + 0 + 1) = 20, so
    # between = (20 - 2) / (30 - 300 / 30) = .9, and each cell keeps .9 / (.9 + .1) of its distance.
    found = shrink(column(1, 2, 3), column(0.1, 0.1, 0.1).sqrt())
    torch.testing.assert_close(found.between, torch.tensor([0.9]).double())
    torch.testing.assert_close(found.mean, column(1.1, 2, 2.9))
    # Posterior variance: .9 * .1 + .1^2 / 3, as the prior is known to (.9 + .1) / 3.
    torch.testing.assert_close(found.error.square(), column(*[0.09 + 0.01 / 3] * 3))


def test_it_is_the_rule_of_added_rows() -> None:
    # (n mean + m prior) / (n + m), m = s^2 / between, for 10, 20 and 40 rows of variance 2.
    rows, mean = column(10, 20, 40), column(0, 3, 5)
    found = shrink(mean, (2 / rows).sqrt())
    m = 2 / found.between
    weight = 1 / (2 / rows + found.between)
    prior = (weight * mean).sum() / weight.sum()
    torch.testing.assert_close(found.mean, (rows * mean + m * prior) / (rows + m))


def test_cells_that_differ_by_chance_alone_become_one() -> None:
    found = shrink(column(1.0, 1.1, 0.9), column(1, 1, 1))
    torch.testing.assert_close(found.mean, column(1, 1, 1))
    assert found.between.item() == 0


def test_a_cell_without_rows_takes_the_prior_and_a_sure_one_stays() -> None:
    found = shrink(column(0, 4, 8, 100), column(1, 1, 0, torch.inf))
    assert found.mean[2].item() == 8
    assert found.error[2].item() == 0
    known = shrink(column(0, 4, 8), column(1, 1, 0))
    torch.testing.assert_close(found.mean[:3], known.mean)
    assert found.error[3].item() > found.error[0].item()


def test_fixed_amounts_and_single_segments_stay() -> None:
    fixed = column(0.3, 0.3, 0.3)
    assert shrink(fixed, torch.zeros_like(fixed)).mean.equal(fixed)
    assert shrink(column(7), column(2)).mean.equal(column(7))
    assert shrink(column(7), column(2)).error.item() == pytest.approx(2)


def test_it_comes_nearer_the_truth_on_average() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(2_000, 1, generator=generator, dtype=torch.float64)
    error = 0.2 + torch.rand(2_000, 1, generator=generator, dtype=torch.float64)
    mean = truth + error * torch.randn(2_000, 1, generator=generator, dtype=torch.float64)
    found = shrink(mean, error)
    trust = 1 / (1 + error.square())
    best = trust * mean
    loss = [float((one - truth).square().mean()) for one in (mean, found.mean, best)]
    assert loss[1] < 0.8 * loss[0]
    assert loss[1] < 1.01 * loss[2]
    assert float(found.between) == pytest.approx(1, abs=0.1)
    inside = ((found.mean - truth).abs() < 1.96 * found.error).double().mean()
    assert float(inside) == pytest.approx(0.95, abs=0.015)


def test_a_treatment_that_nobody_got_is_named() -> None:
    with pytest.raises(InvalidValueError, match="every treatment must be known"):
        shrink(torch.zeros(2, 2).double(), torch.tensor([[1.0, torch.inf]] * 2).double())
