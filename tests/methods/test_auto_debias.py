"""AutoDebias: two weights and the imputed outcomes, learned from randomised rows."""

from dataclasses import replace

import pytest
import torch

from dfl.hypergrad import GaussNewton
from dfl.methods import AutoDebias, BilevelSettings
from dfl.models import MLP, AbstractModel
from tests.methods.toy import ONCE, SMALL, factual_errors, found, logs, outcomes

pytestmark = pytest.mark.filterwarnings("ignore:no upper step is taken")  # some want none

UPPER = BilevelSettings(hidden=(8,), every=3, steps=1, batch_size=256, warm_epochs=1, reach=3.0)
TRAINING = replace(SMALL, epochs=2, batch_size=128, members=1, min_steps=60, learning_rate=2e-2)
FEW = GaussNewton(max_iter=3, on_failure="return")


def test_the_loss_starts_as_the_weighted_one_plus_the_distance_from_the_imputation() -> None:
    rct, obs = (
        logs(512, seed=1, dtype=torch.float64),
        logs(512, source="obs", seed=2, dtype=torch.float64),
    )
    model = AutoDebias(network=MLP((4,)), training=ONCE, upper=UPPER).fit(rct=rct, obs=obs)
    weight = (512 / (3 * obs.treatment.bincount(minlength=3)))[obs.treatment]
    seen = float((weight * factual_errors(model, obs)).mean())
    loss = model.history["target"][0]["loss"]
    assert loss > seen
    # The imputing network has not moved from its own start either; it starts elsewhere.
    spread = float(found(model, obs)["outcomes"].square().sum(dim=(1, 2)).mean())
    assert loss < seen + 20 * spread


def revenue_error(model: AbstractModel) -> float:
    features = logs(1_000, seed=9).features
    return float((model.predict(features).revenue - outcomes(features)[0]).square().mean())


def test_randomised_rows_mend_what_the_logs_get_wrong() -> None:
    logged = logs(1_024, source="obs", seed=2)
    lies = replace(logged, revenue=logged.revenue - 2.0 * logged.treatment)
    still = replace(UPPER, warm_epochs=100)
    errors = [
        revenue_error(
            AutoDebias(network=MLP((8,)), training=TRAINING, upper=upper, hypergrad=FEW).fit(
                rct=logs(1_024, seed=1), obs=lies
            )
        )
        for upper in (UPPER, still)
    ]
    assert errors[0] < 0.9 * errors[1]


def test_the_outer_network_is_logged_and_moves() -> None:
    model = AutoDebias(network=MLP((8,)), training=replace(SMALL, members=1), upper=UPPER).fit(
        rct=logs(256, seed=1), obs=logs(256, source="obs", seed=2)
    )
    epochs = model.history["target"]
    assert "upper_loss" not in epochs[0]
    assert epochs[-1]["reading_spread"] > 0
