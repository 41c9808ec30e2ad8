"""Fitted models: prediction, spread, allocation, saving."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from dfl.budget import Budget
from dfl.errors import (
    DataError,
    DataNotFoundError,
    DTypeError,
    InfeasibleBudgetError,
    InvalidValueError,
    ShapeError,
)
from dfl.io import write_tensors
from dfl.methods import Training, TsmSl
from dfl.models import MLP, NetworkEnsemble, State, load_model
from tests.methods.toy import logs


@pytest.fixture(scope="module")
def model() -> NetworkEnsemble:
    training = Training(epochs=20, batch_size=64, members=3, weight_decay=(0.1,), min_steps=1)
    return TsmSl(rows="rct", network=MLP((8,)), training=training).fit(rct=logs(512))


def test_prediction_is_the_mean_of_the_members(model: NetworkEnsemble) -> None:
    features = logs(100, seed=5).features
    whole = model.predict(features, spread=True)
    alone = torch.stack([model.only(k).predict(features).revenue for k in range(3)])
    assert_close(whole.revenue, alone.mean(dim=0))
    assert_close(whole.revenue_spread, alone.std(dim=0, correction=0))
    assert bool((whole.cost >= 0).all())


def test_spread_comes_on_request(model: NetworkEnsemble) -> None:
    assert model.predict(logs(10).features).revenue_spread is None


def test_a_treatment_of_constant_cost_is_served_at_that_cost(model: NetworkEnsemble) -> None:
    """Doing nothing costs nothing in every logged row."""
    assert_close(model.predict(logs(50, seed=6).features).cost[:, 0], torch.zeros(50))


def test_predictions_learn_something(model: NetworkEnsemble) -> None:
    test = logs(2_000, seed=7)
    predicted = model.predict(test.features).revenue.gather(1, test.treatment[:, None])[:, 0]
    unexplained = (test.revenue - predicted).square().mean() / test.revenue.var()
    assert unexplained < 0.75


@pytest.mark.parametrize(
    "budget", [Budget(per_head=0.4), Budget(total=40.0), Budget(share=0.2)], ids=str
)
def test_allocation_stays_within_the_budget(model: NetworkEnsemble, budget: Budget) -> None:
    features = logs(100, seed=8).features
    allocation = model.allocate(features, budget)
    cost = model.predict(features).cost.double()
    spent = cost.gather(1, allocation.choice[:, None]).sum()
    total = budget.total_for(100, float(cost.amin(1).sum()), float(cost.amax(1).sum()))
    assert_close(allocation.cost, spent)
    assert float(spent) <= total * (1 + 1e-9)


def test_an_impossible_budget_is_refused(model: NetworkEnsemble) -> None:
    dear = replace(model, scaling=replace(model.scaling, fixed_cost=torch.ones(3)))
    with pytest.raises(InfeasibleBudgetError, match="budget must be at least the cost"):
        dear.allocate(logs(100).features, Budget(per_head=0.5))


def test_a_saved_model_predicts_the_same(model: NetworkEnsemble, tmp_path: Path) -> None:
    model.save(f"{tmp_path}/model.safetensors")
    loaded = load_model(f"{tmp_path}/model.safetensors")
    features = logs(50, seed=9).features
    assert_close(loaded.predict(features).revenue, model.predict(features).revenue, rtol=0, atol=0)
    assert loaded.history == model.history


def test_files_that_are_no_model_are_refused(model: NetworkEnsemble, tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="train one with 'dfl run'"):
        load_model(tmp_path / "none.safetensors")
    path = tmp_path / "model.safetensors"
    model.save(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="is not a readable dfl model"):
        load_model(path)


def test_a_flipped_bit_anywhere_is_refused(model: NetworkEnsemble, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model.save(path)
    whole = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for place in torch.randint(len(whole), (60,), generator=generator).tolist():
        broken = bytearray(whole)
        broken[place] ^= 1 << (place % 8)
        path.write_bytes(bytes(broken))
        with pytest.raises(DataError, match="not a readable dfl model"):
            load_model(path)


def test_a_model_of_an_earlier_format_is_refused_with_what_changed(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    about = {"hidden": [8], "history": {}}
    write_tensors(
        path, {"parameters/layers.0.weight": torch.ones(2, 2)}, {"dfl": json.dumps(about)}
    )
    with pytest.raises(DataError, match=r"holds a model of format 1; this version of dfl reads"):
        load_model(path)


def test_a_kind_of_model_that_is_not_known_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    state = State("crystal-ball", {"x": torch.ones(1)}, {})
    about = {"format": 2, "kind": state.kind, "about": {}}
    write_tensors(path, state.tensors, {"dfl": json.dumps(about)})
    with pytest.raises(DataError, match=r"'crystal-ball' is not among the models.*register it"):
        load_model(path)


def test_features_that_do_not_fit_are_refused(model: NetworkEnsemble) -> None:
    with pytest.raises(ShapeError, match=r"features must be \(N, 4\), got \(5, 3\)"):
        model.predict(torch.ones(5, 3))
    with pytest.raises(InvalidValueError, match="features must be finite"):
        model.predict(torch.full((5, 4), float("nan")))
    wrong: Any = np.ones((5, 4))
    with pytest.raises(DTypeError, match="features must be a tensor, got ndarray"):
        model.allocate(wrong, Budget(share=0.3))


def test_constant_outcomes_are_refused() -> None:
    method = TsmSl(rows="rct", training=Training(weight_decay=(0.1,)))
    rows = logs(200)
    with pytest.raises(InvalidValueError, match="revenue must vary"):
        method.fit(rct=replace(rows, revenue=torch.ones(200)))
    with pytest.raises(InvalidValueError, match="cost must be positive somewhere"):
        method.fit(rct=replace(rows, cost=torch.zeros(200)))
