"""Pseudo-scores: right on average over the randomised treatment, whatever the predictions."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from dfl.losses import LoggedBatch
from dfl.losses.estimators.pseudo_scores import pseudo_scores


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
