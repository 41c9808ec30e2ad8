"""Searches that tune on money, with metadata routed through pipelines."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from dfl import Budget
from dfl.errors import InvalidValueError
from dfl.methods import Training
from dfl.sklearn import policy_scorer
from tests.sklearn.conftest import HALF, TINY, policy

# The second learns next to nothing: its steps are a millionth as long.
LEARNS = Training(epochs=5, min_steps=200, batch_size=128, members=1, weight_decay=(0.1,))
TRAININGS = [replace(LEARNS, learning_rate=1e-8), LEARNS]


def given(shop: pd.DataFrame) -> dict[str, Any]:
    return {"treatment": shop["offer"].to_numpy(), "cost": shop["cost"].to_numpy()}


def pipe(**options: object) -> Pipeline:
    return Pipeline([("scale", StandardScaler()), ("policy", policy(**options))])


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("scoring", [None, policy_scorer(HALF)], ids=["score", "policy_scorer"])
def test_a_search_over_a_pipeline_tunes_on_money(shop: pd.DataFrame, scoring: Any) -> None:
    grid = {"policy__training": TRAININGS}
    search = GridSearchCV(pipe(), grid, cv=3, scoring=scoring, error_score="raise")
    search.fit(shop[["age"]], shop["revenue"], **given(shop))
    assert search.best_params_["policy__training"] is TRAININGS[1]
    money = search.cv_results_["mean_test_score"]
    assert money[1] > money[0] + 0.1
    found = search.score(shop[["age"]], shop["revenue"], **given(shop))
    assert found == search.best_estimator_.score(shop[["age"]], shop["revenue"], **given(shop))


@pytest.mark.usefixtures("routing")
def test_several_budgets_are_scored_at_once(shop: pd.DataFrame) -> None:
    scoring = {name: policy_scorer(Budget(share=one)) for name, one in (("a", 0.1), ("b", 0.9))}
    found = cross_validate(
        pipe(training=LEARNS),
        shop[["age"]],
        shop["revenue"],
        cv=3,
        scoring=scoring,
        params=given(shop),
        error_score="raise",
    )
    assert (found["test_b"] > found["test_a"]).all()


@pytest.mark.usefixtures("routing")
def test_the_scorer_and_the_score_agree(shop: pd.DataFrame) -> None:
    fitted = policy().fit(shop[["age"]], shop["revenue"], **given(shop))
    own = fitted.score(shop[["age"]], shop["revenue"], **given(shop))
    assert policy_scorer(HALF)(fitted, shop[["age"]], shop["revenue"], **given(shop)) == own
    alone = Pipeline([("policy", fitted)])
    assert policy_scorer(HALF)(alone, shop[["age"]], shop["revenue"], **given(shop)) == own


def test_without_routing_the_error_says_what_to_call(shop: pd.DataFrame) -> None:
    features, revenue = shop[["age"]], shop["revenue"]
    said = r"call sklearn.set_config\(enable_metadata_routing=True\) first"
    with pytest.raises(InvalidValueError, match=said):
        pipe().fit(features, revenue)
    search = GridSearchCV(policy(), {"training": [TINY]}, cv=2, error_score="raise")
    with pytest.raises(InvalidValueError, match=f"score needs treatment and cost.*{said}"):
        search.fit(features, revenue, **given(shop))
    by_step = {f"policy__{name}": one for name, one in given(shop).items()}
    assert len(pipe().fit(features, revenue, **by_step).predict(features)) == 400


@pytest.mark.usefixtures("routing")
def test_a_request_that_was_taken_back(shop: pd.DataFrame) -> None:
    off = policy().set_fit_request(treatment=False, cost=False, source=False)
    with pytest.raises(InvalidValueError, match=r"set_fit_request\(treatment=False\) took that"):
        make_pipeline(StandardScaler(), off).fit(shop[["age"]], shop["revenue"])


def test_an_estimator_that_is_no_policy(shop: pd.DataFrame) -> None:
    other = make_pipeline(LinearRegression()).fit(shop[["age"]], shop["revenue"])
    with pytest.raises(InvalidValueError, match="or as the last step of a Pipeline, got Linear"):
        policy_scorer(HALF)(other, shop[["age"]], shop["revenue"], **given(shop))
