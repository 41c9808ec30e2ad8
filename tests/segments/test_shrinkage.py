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
    # Three cells say nothing about how far off `between` may be, so errors stay.
    torch.testing.assert_close(found.error.square(), column(0.1, 0.1, 0.1))
    # A cell's own mean counts .9, and a third of the prior that it keeps .1 of.
    torch.testing.assert_close(found.own, column(*[0.9 + 0.1 / 3] * 3))


def test_errors_allow_for_a_guessed_variance_by_hand() -> None:
    # Means 1 .. 5 with variance .1: Q = 100, between = 96 / 40 = 2.4, b = .1 / 2.5, b' = b / 2.
    found = shrink(column(1, 2, 3, 4, 5), column(*[0.1] * 5).sqrt())
    torch.testing.assert_close(found.between, torch.tensor([2.4]).double())
    wanted = 0.1 * (1 - 0.02 * 4 / 5) + 0.02**2 * column(4, 1, 0, 1, 4)
    torch.testing.assert_close(found.error.square(), wanted)


@pytest.mark.parametrize("between", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("cells", [2, 3, 4, 10])
def test_truth_lies_within_the_errors_as_often_as_they_say(cells: int, between: float) -> None:
    generator = torch.Generator().manual_seed(cells)
    shape = (cells, 4_000)  # as many tables of one treatment
    truth = between * torch.randn(shape, generator=generator, dtype=torch.float64)
    error = 0.5 + torch.rand(shape, generator=generator, dtype=torch.float64)
    mean = truth + error * torch.randn(shape, generator=generator, dtype=torch.float64)
    found = shrink(mean, error)
    inside = ((found.mean - truth).abs() < 1.96 * found.error).double().mean()
    assert float(inside) > 0.935
    assert float(found.error.mean()) < 1.001 * float(error.mean())


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
