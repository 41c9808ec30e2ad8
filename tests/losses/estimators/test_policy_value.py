"""Estimators of policy value, against a simulator that knows the truth."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torch.testing import assert_close

from dfl.data import CouponSimulator
from dfl.data.uplift_data import UpliftData
from dfl.errors import InvalidValueError, ShapeError
from dfl.losses import CostSensitive, LoggedBatch, PrimalPolicy, policy_value
from dfl.losses.estimators.policy_value import VALUE_ESTIMATORS, Estimator, pseudo_scores
from tests.losses.toy import three_arms, toy_a

PRICE = 0.5
ROWS = 40_000


@cache
def randomised(noise: float) -> tuple[UpliftData, Tensor, Tensor]:
    """Return coupon rows, and cross-fitted linear predictions of revenue and cost."""
    rows = CouponSimulator(noise=noise).draw(ROWS, generator=torch.Generator().manual_seed(1))
    features = torch.cat([rows.features, torch.ones(ROWS, 1)], dim=1).double()
    fold = torch.arange(ROWS) % 2

    def predict(outcome: Tensor) -> Tensor:
        found = torch.zeros(ROWS, 5, dtype=torch.float64)
        for number in (0, 1):
            for arm in range(5):
                seen = (fold != number) & (rows.treatment == arm)
                fit = torch.linalg.lstsq(features[seen], outcome[seen].double()[:, None]).solution
                found[fold == number, arm] = (features[fold == number] @ fit)[:, 0]
        return found

    return rows, predict(rows.revenue), predict(rows.cost)


def errors(noise: float, estimator: Estimator, wrong: float = 0.0) -> Tensor:
    """Return each person's estimate of a hard policy's value, minus the truth. ``(ROWS,)``."""
    rows, revenue, cost = randomised(noise)
    assert rows.truth is not None
    choice = one_hot((revenue - PRICE * cost).argmax(dim=1), 5).double()
    everyone = LoggedBatch(
        rows.treatment[:, None],
        rows.revenue.double()[:, None],
        rows.cost.double()[:, None],
        torch.full((ROWS, 1), 5.0, dtype=torch.float64),
        (revenue + wrong).unsqueeze(1),
        cost.unsqueeze(1),
    )
    price = torch.full((ROWS,), PRICE, dtype=torch.float64)
    found = policy_value(choice.unsqueeze(1), everyone, price, estimator)
    return found - (choice * (rows.truth.revenue - PRICE * rows.truth.cost)).sum(dim=1)


@pytest.mark.parametrize("noise", [1.0, 0.25])
@pytest.mark.parametrize(
    ("estimator", "wrong"),
    [("horvitz-thompson", 0.0), ("doubly-robust", 0.0), ("doubly-robust", 20.0)],
)
def test_unbiased_on_randomised_rows(noise: float, estimator: Estimator, wrong: float) -> None:
    """Within 4 standard errors; doubly robust also where the model is wrong by 20."""
    found = errors(noise, estimator, wrong)
    assert abs(float(found.mean())) < 4 * float(found.std()) / ROWS**0.5


@pytest.mark.parametrize(("noise", "factor"), [(1.0, 1.1), (0.25, 2.5)])
def test_doubly_robust_is_less_noisy_by_a_factor(noise: float, factor: float) -> None:
    """What remains is the noise of the outcomes: single purchases, sd 2.5 times the mean."""
    plain, robust = errors(noise, "horvitz-thompson"), errors(noise, "doubly-robust")
    assert float(plain.var()) > factor * float(robust.var())


@pytest.mark.parametrize("estimator", VALUE_ESTIMATORS)
def test_a_constant_revenue_counts_in_full(estimator: Estimator) -> None:
    revenue, _, batch = three_arms()
    constant = replace(
        batch,
        revenue=torch.full_like(batch.revenue, 2.0),
        weight=torch.full_like(batch.weight, 3.0),
        baseline_revenue=torch.full_like(revenue, 2.0),
    )
    shares = torch.full_like(revenue, 1 / 3)
    value = policy_value(shares, constant, torch.zeros((), dtype=torch.float64), estimator)
    assert_close(value.item(), 2.0)


def test_doubly_robust_by_hand() -> None:
    """Rows receive 1 and 0 at weight 2; value mean of z m + w z_t (y - m_t)."""
    batch = LoggedBatch(
        torch.tensor([1, 0]),
        torch.tensor([3.0, 1.0]),
        torch.tensor([1.0, 0.0]),
        torch.tensor([2.0, 2.0]),
        torch.tensor([[1.0, 2.0], [1.0, 2.0]]),
        torch.tensor([[0.0, 1.0], [0.0, 1.0]]),
    )
    shares = torch.tensor([[0.25, 0.75], [1.0, 0.0]], requires_grad=True)
    # At price 1: y = 2, 1; m = (1, 1) for both. Row 1: 1 + 2 * .75 * (2 - 1) = 2.5; row 2: 1.
    value = policy_value(shares, batch, torch.tensor(1.0), "doubly-robust")
    assert_close(value.item(), 1.75)
    # Slopes s_ij / N, s = m + w 1[t] (y - m), less the row's own value: 2.5 and 1.
    (slope,) = torch.autograd.grad(value, shares)
    assert_close(slope, torch.tensor([[1 - 2.5, 3 - 2.5], [0.0, 0.0]]) / 2)


def test_a_loss_says_whether_it_needs_baselines() -> None:
    assert [PrimalPolicy(estimator=one).needs_baseline for one in VALUE_ESTIMATORS] == [
        False,
        False,
        True,
    ]


def test_doubly_robust_without_baselines_is_refused() -> None:
    revenue, cost, batch = toy_a()
    with pytest.raises(InvalidValueError, match=r"'doubly-robust' needs batch\.baseline_revenue"):
        PrimalPolicy(estimator="doubly-robust")(revenue, cost, batch, 1.0)


def test_baselines_of_another_shape_are_refused() -> None:
    revenue, cost, batch = toy_a()
    batch = replace(batch, baseline_revenue=revenue, baseline_cost=cost[:, :1])
    for loss in (PrimalPolicy(estimator="doubly-robust"), CostSensitive()):
        with pytest.raises(ShapeError, match=r"baseline_cost must be \(4, 2\), got \(4, 1\)"):
            loss(revenue, cost, batch, 1.0)


def test_an_allocation_of_other_rows_is_refused() -> None:
    revenue, _, batch = toy_a()
    with pytest.raises(ShapeError, match=r"batch.treatment must be \(5,\), got \(4,\)"):
        policy_value(revenue[[0, 1, 2, 3, 3]], batch, torch.tensor(0.0), "self-normalised")


def test_unknown_words_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="estimator must be one of 'horvitz-thompson',"):
        PrimalPolicy(estimator="none")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="objective must be one of 'revenue',"):
        PrimalPolicy(objective="profit")  # type: ignore[arg-type]


@pytest.mark.parametrize("baseline", [True, False])
@pytest.mark.parametrize("kind", ["doubly-robust", "horvitz-thompson"])
def test_the_mean_over_treatments_is_the_true_score(kind: str, baseline: bool) -> None:
    """Exactly: each treatment in turn, weighted by its propensity."""
    generator = torch.Generator().manual_seed(1)
    revenue, cost, predicted = torch.rand(3, 6, 3, generator=generator, dtype=torch.float64)
    propensity = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    multiplier = torch.tensor(0.7, dtype=torch.float64)
    mean = torch.zeros_like(revenue)
    for arm in range(3):
        logs = LoggedBatch(
            torch.full((6,), arm), revenue[:, arm], cost[:, arm], 1 / propensity[arm].expand(6)
        )
        if baseline:
            logs = replace(logs, baseline_revenue=revenue.flip(0), baseline_cost=cost.flip(1))
        mean += propensity[arm] * pseudo_scores(predicted, logs, multiplier, kind)  # type: ignore[arg-type]
    assert_close(mean, revenue - 0.7 * cost)


def test_a_baseline_takes_the_place_of_the_predictions() -> None:
    revenue, predicted = torch.eye(3).double(), torch.zeros(3, 3).double()
    logs = LoggedBatch(
        torch.arange(3), torch.ones(3).double(), torch.zeros(3).double(), torch.ones(3).double()
    )
    logs = replace(logs, baseline_revenue=revenue, baseline_cost=torch.zeros(3, 3).double())
    found = pseudo_scores(predicted, logs, torch.tensor(0.0), "doubly-robust")
    assert_close(found, revenue)  # right at the treatment received: nothing to correct
