"""Training on decisions: the second stage lowers the decision loss, and can be left."""

from dataclasses import replace

import pytest
import torch

from dfl.budget import Budget
from dfl.methods import Dfcl, Training
from dfl.models import MLP
from tests.methods.toy import SMALL, logs

LONG = replace(SMALL, epochs=4, min_steps=200)


def method(training: Training = LONG, **options: object) -> Dfcl:
    return Dfcl(network=MLP((8,)), training=training, **options)  # type: ignore[arg-type]


def test_the_second_stage_starts_from_the_first_and_is_kept_where_it_helps() -> None:
    model = method().fit(rct=logs(2_000, seed=1), validation=logs(1_000, seed=3))
    stages = model.history
    assert len(stages["warm-start"]) == 4
    assert len(stages["decision"]) == 4  # as many epochs
    found = [epoch["validation"] for epoch in stages["decision"]]
    assert min(found) <= found[0] + 1e-6


def test_without_validation_rows_the_last_epoch_is_kept() -> None:
    one = method(decision_epochs=2).fit(rct=logs(500, seed=1))
    assert all("validation" not in epoch for epoch in one.history["decision"])


def test_the_budget_it_is_trained_at_matters() -> None:
    rows, features = logs(2_000, seed=1), logs(200, seed=5).features
    low = method(budgets=(Budget(share=0.1),)).fit(rct=rows).predict(features)
    high = method(budgets=(Budget(share=0.9),)).fit(rct=rows).predict(features)
    assert not torch.allclose(low.revenue, high.revenue, atol=1e-3)


def test_several_budgets_are_averaged() -> None:
    model = method(budgets=(Budget(share=0.2), Budget(per_head=0.5))).fit(rct=logs(500, seed=1))
    assert torch.tensor([epoch["loss"] for epoch in model.history["decision"]]).isfinite().all()


@pytest.mark.parametrize("weight", [0.0, 5.0])
def test_the_prediction_weight_is_heard(weight: float) -> None:
    rows, features = logs(1_000, seed=1), logs(200, seed=5).features
    one = method(prediction_weight=weight).fit(rct=rows).predict(features)
    other = method(prediction_weight=1.0).fit(rct=rows).predict(features)
    assert not torch.allclose(one.revenue, other.revenue, atol=1e-4)
