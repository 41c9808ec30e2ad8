"""A hinge on every edge between two treatments."""

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import InvalidValueError
from dfl.layers import Price
from dfl.layers.pricing.options import Softness
from dfl.losses import AdjacentHinge, LoggedBatch


def absolute(margin: float, **options: object) -> AdjacentHinge:
    softness = Softness(margin, "absolute")
    return AdjacentHinge(margin=softness, price=Price(multiplier=0.5), **options)  # type: ignore[arg-type]


def test_a_case_by_hand() -> None:
    """Scores (1, 2, 0), pseudo-scores (0, 0, 6): edges 0-1 say nothing, 2 should win both."""
    revenue, cost = torch.tensor([[1.0, 2.5, 1.0]] * 3), torch.tensor([[0.0, 1.0, 2.0]] * 3)
    treatment = torch.tensor([2, 0, 1])
    seen = torch.tensor([3.0, 0.0, 0.5])  # less cost / 2: 2, 0, 0
    batch = LoggedBatch(treatment, seen, torch.tensor([2.0, 0.0, 1.0]), torch.full((3,), 3.0))
    loss = absolute(2.0, pseudo_outcome="horvitz-thompson")
    expected = 2 / 3 * (6 * (1 + 1 / 2) + 6 * (1 + 2 / 2)) / 3  # the others' outcomes are 0
    assert_close(loss(revenue, cost, batch, 1.0), torch.tensor(expected))


def noisy(rows: int) -> LoggedBatch:
    """Two treatments of mean scores 1 and 1.3, unequal chances, skewed noise."""
    generator = torch.Generator().manual_seed(5)
    chance = torch.tensor([0.25, 0.75])
    treatment = torch.multinomial(chance, rows, replacement=True, generator=generator)
    noise = torch.empty(rows).exponential_(generator=generator) - 1
    mean = torch.tensor([1.0, 1.3])[treatment]
    return LoggedBatch(treatment, mean + noise, torch.zeros(rows), 1 / chance[treatment])


@pytest.mark.parametrize("pseudo_outcome", ["doubly-robust", "horvitz-thompson"])
def test_two_treatments_are_decided_by_their_mean_gain(pseudo_outcome: str) -> None:
    batch = noisy(40_000)
    loss = absolute(1.0, pseudo_outcome=pseudo_outcome)

    def risk(lead: float) -> float:
        level = torch.tensor([1.15 - lead / 2, 1.15 + lead / 2]).expand(40_000, 2)
        return float(loss(level, torch.zeros(40_000, 2), batch, 1.0))

    assert risk(0.5) < risk(0.0) < risk(-0.5)


def test_a_pair_that_is_right_by_the_margin_pulls_no_more() -> None:
    batch = LoggedBatch(torch.tensor([0, 1]), torch.tensor([5.0, 0.0]), *2 * [torch.ones(2)])
    revenue = torch.tensor([[4.0, 0.0], [4.0, 0.0]], requires_grad=True)
    loss = absolute(1.0, pseudo_outcome="horvitz-thompson")(revenue, torch.zeros(2, 2), batch, 1.0)
    (slope,) = torch.autograd.grad(loss, revenue)
    assert_close(slope[0], torch.zeros(2))


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="pseudo_outcome must be one of"):
        AdjacentHinge(pseudo_outcome="none")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="temperature must be > 0"):
        AdjacentHinge(margin=Softness(0.0))
    with pytest.raises(InvalidValueError, match=r"margin must be a Softness, got 1\.0"):
        AdjacentHinge(margin=1.0)  # type: ignore[arg-type]
