"""LTD-IPS: weights of logged rows, learned from randomised ones."""

from dataclasses import replace

import pytest
import torch

from dfl.hypergrad import GaussNewton, Unrolled
from dfl.methods import BilevelSettings, LtdIps
from dfl.models import MLP, AbstractModel
from dfl.training.levels import row_factor
from tests.methods.toy import ONCE, SMALL, factual_errors, logs, outcomes

pytestmark = pytest.mark.filterwarnings("ignore:no upper step is taken")  # some want none

UPPER = BilevelSettings(hidden=(8,), every=4, steps=1, batch_size=256, warm_epochs=1, reach=4.0)
TRAINING = replace(SMALL, epochs=2, batch_size=128, members=1, min_steps=80, learning_rate=2e-2)
FEW = GaussNewton(max_iter=3, on_failure="return")


def test_the_factor_by_hand() -> None:
    phi = torch.tensor([[[[0.0, 1.0, 9.0]], [[0.0, -1.0, -9.0]]]])  # one network, two rows
    factor = row_factor(phi, torch.tensor([[1, 2]]))
    assert factor[0].tolist() == pytest.approx([2.71828, 0.049787], rel=1e-4)
    assert float(row_factor(phi, torch.tensor([[2, 0]]))[0, 0]) == pytest.approx(20.0855, rel=1e-4)


def test_at_the_start_every_treatment_counts_alike() -> None:
    rows = {"rct": logs(300, seed=1, dtype=torch.float64)}
    logged = logs(512, source="obs", seed=2, dtype=torch.float64)
    model = LtdIps(network=MLP((4,)), training=ONCE, upper=UPPER).fit(**rows, obs=logged)
    weight = (512 / (3 * logged.treatment.bincount(minlength=3)))[logged.treatment]
    expected = float((weight * factual_errors(model, logged)).mean())
    assert model.history["target"][0]["loss"] == pytest.approx(expected, rel=1e-6)


def revenue_error(model: AbstractModel) -> float:
    features = logs(1_000, seed=9).features
    return float((model.predict(features).revenue - outcomes(features)[0]).square().mean())


def test_rows_that_lie_lose_weight() -> None:
    logged = logs(1_024, source="obs", seed=2)
    false = logged.features[:, 3] > 0
    lies = replace(logged, revenue=torch.where(false, logged.revenue - 4.0, logged.revenue))
    still = replace(UPPER, warm_epochs=100)
    errors = [
        revenue_error(
            LtdIps(network=MLP((8,)), training=TRAINING, upper=upper, hypergrad=FEW).fit(
                rct=logs(1_024, seed=1), obs=lies
            )
        )
        for upper in (UPPER, still)
    ]
    assert errors[0] < errors[1]


def test_the_published_look_ahead_of_one_step_runs() -> None:
    upper = replace(UPPER, steps=0)
    method = LtdIps(
        network=MLP((8,)),
        training=replace(SMALL, members=1),
        upper=upper,
        hypergrad=Unrolled(steps=1),
    )
    model = method.fit(rct=logs(256, seed=1), obs=logs(256, source="obs", seed=2))
    assert model.history["target"][-1]["reading_spread"] > 0
