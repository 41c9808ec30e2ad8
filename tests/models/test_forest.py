"""Forests as arrays: what EconML and scikit-learn predict, before a file and after it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from econml.dml import CausalForestDML
from econml.grf import CausalForest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestRegressor
from torch import Tensor
from torch.testing import assert_close

from dfl.models import CausalForestModel, Trees, load_model
from dfl.models.base import State
from tests.methods.toy import ARMS, logs

DATA = logs(400, seed=1)
X = DATA.features.double().numpy()
T = torch.nn.functional.one_hot(DATA.treatment)[:, 1:].double().numpy()
UNKNOWN = torch.full((ARMS,), float("nan"))


def regression() -> RandomForestRegressor:
    outcomes = torch.stack((DATA.revenue, DATA.cost), dim=1).numpy()
    return RandomForestRegressor(8, min_samples_leaf=5, random_state=0).fit(X, outcomes)


def causal(outcome: Tensor) -> CausalForest:
    forest = CausalForest(n_estimators=8, min_samples_leaf=5, inference=False, random_state=0)
    return forest.fit(X, T, outcome.double().numpy())


def arrays(forest: CausalForest) -> Trees:
    trees = [one.tree_ for one in forest.estimators_]
    return Trees.of(trees, [np.concatenate((t.precond, t.jac), axis=1) for t in trees])


def level_trees() -> Trees:
    trees = [one.tree_ for one in regression().estimators_]
    return Trees.of(trees, [tree.value[..., 0] for tree in trees])


@pytest.fixture(scope="module")
def model() -> CausalForestModel:
    effects = arrays(causal(DATA.revenue)), arrays(causal(DATA.cost))
    return CausalForestModel(level_trees(), effects, UNKNOWN, torch.tensor(4), {})


def test_trees_say_what_the_regression_forest_says() -> None:
    assert_close(level_trees().mean(DATA.features), torch.tensor(regression().predict(X)))


def test_effects_are_those_of_econml(model: CausalForestModel) -> None:
    found = model.effect(DATA.features)
    for place, outcome in enumerate((DATA.revenue, DATA.cost)):
        expected = torch.tensor(causal(outcome).predict(X))
        assert_close(found[:, place], expected, rtol=1e-9, atol=1e-9)


def test_predictions_are_levels_plus_effects(model: CausalForestModel) -> None:
    found, level = model.predict(DATA.features), model.level.mean(DATA.features).float()
    assert_close(found.revenue[:, 0], level[:, 0])
    effect = model.effect(DATA.features)[:, 0].float()
    assert_close(found.revenue[:, 1:] - found.revenue[:, :1], effect, rtol=1e-4, atol=1e-5)
    assert bool((found.cost >= 0).all())
    assert model.predict(DATA.features, spread=True).revenue_spread is None
    assert model.predict(DATA.features[:0]).cost.shape == (0, ARMS)


def test_known_costs_are_served_as_known(model: CausalForestModel) -> None:
    known = replace(model, fixed_cost=torch.tensor([0.0, float("nan"), 2.5]))
    found = known.predict(DATA.features).cost
    assert found[:, [0, 2]].unique(dim=0).tolist() == [[0.0, 2.5]]
    assert_close(found[:, 1], model.predict(DATA.features).cost[:, 1])


def test_a_file_holds_arrays_and_gives_the_same(model: CausalForestModel, tmp_path: Path) -> None:
    model.save(tmp_path / "forest.safetensors")
    again = load_model(tmp_path / "forest.safetensors")
    assert isinstance(again, CausalForestModel)
    before, after = model.predict(DATA.features), again.predict(DATA.features)
    assert_close(before.revenue, after.revenue, rtol=0, atol=0)
    assert_close(before.cost, after.cost, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("level/left", torch.tensor([10_000])),
        ("level/feature", torch.tensor([4])),
        ("cost/root", torch.tensor([-1])),
        ("revenue/value", torch.zeros(1, 5)),
        ("revenue/threshold", torch.zeros(3)),
        ("level/depth", torch.tensor(10**12)),
    ],
)
def test_arrays_that_are_no_forest_are_refused(
    model: CausalForestModel, name: str, value: Tensor
) -> None:
    state = model.state()
    tensors = dict(state.tensors)
    if name in ("level/left", "level/feature"):
        value = torch.cat((value, tensors[name][1:]))
    broken = State(state.kind, tensors | {name: value}, state.about)
    with pytest.raises(ValueError, match="arrays of a forest do not fit together"):
        CausalForestModel.of_state(broken)


def test_a_file_without_a_tree_is_refused(model: CausalForestModel) -> None:
    state = model.state()
    del state.tensors["level/root"]  # type: ignore[attr-defined]  # a dict, made anew
    with pytest.raises(KeyError):
        CausalForestModel.of_state(state)


def test_the_whole_estimator_agrees_with_its_arrays() -> None:
    """Double machine learning adds what is subtracted before; the final forest is the same."""
    fitted = CausalForestDML(
        model_y=RandomForestRegressor(8, random_state=0),
        model_t=DummyClassifier(strategy="prior"),
        discrete_treatment=True,
        n_estimators=8,
        drate=False,
        inference=False,
        random_state=0,
    ).fit(DATA.revenue.double().numpy(), DATA.treatment.numpy(), X=X)
    (forest,) = fitted.model_cate.estimators_
    both = arrays(forest), arrays(forest)
    model = CausalForestModel(level_trees(), both, UNKNOWN, torch.tensor(4), {})
    expected = torch.tensor(fitted.const_marginal_effect(X))
    assert_close(model.effect(DATA.features)[:, 0], expected, rtol=1e-9, atol=1e-9)
