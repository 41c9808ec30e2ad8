"""DRM and DUM: golden cases, optima at the truth, derivatives."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.losses import direct_rank_loss, uplift_rank_loss

GROUP = torch.tensor([0, 0, 1, 1, 0, 0, 1, 1])
TREATMENT = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0])
REVENUE = torch.tensor([0.5, 0.3, 0.6, 0.8, 0.1, 0.3, 0.2, 0.4], dtype=torch.float64)
COST = torch.tensor([1, 0.8, 0.9, 0.7, 0.2, 0.4, 0.1, 0.5], dtype=torch.float64)
EVEN = torch.full((8,), 2.0, dtype=torch.float64)


def scores(*groups: float) -> Tensor:
    return torch.tensor(groups, dtype=torch.float64)[GROUP].requires_grad_()


@pytest.mark.parametrize(
    ("groups", "direct", "uplift"),
    [
        ((0.0, 0.0), 1.8333333, 0.6238325),
        ((0.5, -0.5), 2.2256531, 0.7098668),
        ((math.log(0.5), math.log(4)), 1.4284515, 0.6591674),
    ],
)
def test_golden_cases(groups: tuple[float, float], direct: float, uplift: float) -> None:
    """G2: two groups of people, whose ROI is 1/3 and 4/5."""
    score = scores(*groups)
    found = direct_rank_loss(score, TREATMENT, REVENUE, COST, EVEN)
    assert_close(found.item(), direct, atol=1e-6, rtol=0)
    found = uplift_rank_loss(score, TREATMENT, REVENUE, EVEN)
    assert_close(found.item(), uplift, atol=1e-6, rtol=0)


def test_the_logarithm_of_the_uplift_is_the_best_score_of_dum() -> None:
    """Uplifts of the two groups are .2 and .4."""
    best = scores(math.log(0.2), math.log(0.4))
    (slope,) = torch.autograd.grad(uplift_rank_loss(best, TREATMENT, REVENUE, EVEN), best)
    by_group = torch.zeros(2, dtype=torch.float64).index_add(0, GROUP, slope)
    assert_close(by_group, torch.zeros(2, dtype=torch.float64), atol=1e-12, rtol=0)


def test_weights_stand_for_rows_and_leading_axes_for_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    score, weight = torch.rand(2, 8, generator=generator, dtype=torch.float64)
    twice = torch.arange(8).repeat_interleave(1 + GROUP)  # rows of the second group come twice
    for loss, columns in ((direct_rank_loss, (REVENUE, COST)), (uplift_rank_loss, (REVENUE,))):
        whole = loss(score, TREATMENT, *columns, weight)  # type: ignore[operator]
        stacked = (torch.stack((one, one)) for one in (score, TREATMENT, *columns, weight))
        assert_close(loss(*stacked), whole.expand(2))  # type: ignore[operator]
    again = direct_rank_loss(*(one[twice] for one in (score, TREATMENT, REVENUE, COST, weight)))
    assert_close(direct_rank_loss(score, TREATMENT, REVENUE, COST, weight * (1 + GROUP)), again)


def test_exact_derivatives() -> None:
    score = scores(0.3, -0.8)
    for loss in (
        lambda s: direct_rank_loss(s, TREATMENT, REVENUE, COST, EVEN),
        lambda s: uplift_rank_loss(s, TREATMENT, REVENUE, EVEN),
    ):
        assert torch.autograd.gradcheck(loss, (score,))
        assert torch.autograd.gradgradcheck(loss, (score,))
