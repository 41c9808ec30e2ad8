"""Fitted models: prediction, spread, allocation, saving."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from dfl.budget import Budget
from dfl.errors import (
    DataError,
    DataNotFoundError,
    InfeasibleBudgetError,
    InvalidValueError,
    ShapeError,
)
from dfl.methods import FittedModel, Training, TsmSl
from dfl.models import MLP
from tests.methods.toy import logs


@pytest.fixture(scope="module")
def model() -> FittedModel:
    training = Training(epochs=20, batch_size=64, members=3, weight_decay=(0.1,), min_steps=1)
    return TsmSl(rows="rct", network=MLP((8,)), training=training).fit(rct=logs(512))


def test_prediction_is_the_mean_of_the_members(model: FittedModel) -> None:
    features = logs(100, seed=5).features
    whole = model.predict(features, spread=True)
    alone = torch.stack([model.only(k).predict(features).revenue for k in range(3)])
    assert_close(whole.revenue, alone.mean(dim=0))
    assert_close(whole.revenue_spread, alone.std(dim=0, correction=0))
    assert bool((whole.cost >= 0).all())


def test_spread_comes_on_request(model: FittedModel) -> None:
    assert model.predict(logs(10).features).revenue_spread is None


def test_a_treatment_of_constant_cost_is_served_at_that_cost(model: FittedModel) -> None:
    """Doing nothing costs nothing in every logged row."""
    assert_close(model.predict(logs(50, seed=6).features).cost[:, 0], torch.zeros(50))


def test_predictions_learn_something(model: FittedModel) -> None:
    test = logs(2_000, seed=7)
    predicted = model.predict(test.features).revenue.gather(1, test.treatment[:, None])[:, 0]
    unexplained = (test.revenue - predicted).square().mean() / test.revenue.var()
    assert unexplained < 0.75


@pytest.mark.parametrize(
    "budget", [Budget(per_head=0.4), Budget(total=40.0), Budget(share=0.2)], ids=str
)
def test_allocation_stays_within_the_budget(model: FittedModel, budget: Budget) -> None:
    features = logs(100, seed=8).features
    allocation = model.allocate(features, budget)
    cost = model.predict(features).cost.double()
    spent = cost.gather(1, allocation.choice[:, None]).sum()
    total = budget.total_for(100, float(cost.amin(1).sum()), float(cost.amax(1).sum()))
    assert_close(allocation.cost, spent)
    assert float(spent) <= total * (1 + 1e-9)


def test_an_impossible_budget_is_refused(model: FittedModel) -> None:
    dear = replace(model, scaling=replace(model.scaling, fixed_cost=torch.ones(3)))
    with pytest.raises(InfeasibleBudgetError, match="budget must be at least the cost"):
        dear.allocate(logs(100).features, Budget(per_head=0.5))


def test_a_saved_model_predicts_the_same(model: FittedModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model.safetensors")
    loaded = FittedModel.load(tmp_path / "model.safetensors")
    features = logs(50, seed=9).features
    assert_close(loaded.predict(features).revenue, model.predict(features).revenue, rtol=0, atol=0)
    assert loaded.history == model.history


def test_files_that_are_no_model_are_refused(model: FittedModel, tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="train one with 'dfl run'"):
        FittedModel.load(tmp_path / "none.safetensors")
    path = tmp_path / "model.safetensors"
    model.save(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="is not a readable dfl model"):
        FittedModel.load(path)


def test_features_that_do_not_fit_are_refused(model: FittedModel) -> None:
    with pytest.raises(ShapeError, match=r"features must be \(N, 4\), got \(5, 3\)"):
        model.predict(torch.ones(5, 3))
    with pytest.raises(InvalidValueError, match="features must be finite"):
        model.predict(torch.full((5, 4), float("nan")))


def test_constant_outcomes_are_refused() -> None:
    method = TsmSl(rows="rct", training=Training(weight_decay=(0.1,)))
    rows = logs(200)
    with pytest.raises(InvalidValueError, match="revenue must vary"):
        method.fit(rct=replace(rows, revenue=torch.ones(200)))
    with pytest.raises(InvalidValueError, match="cost must be positive somewhere"):
        method.fit(rct=replace(rows, cost=torch.zeros(200)))
