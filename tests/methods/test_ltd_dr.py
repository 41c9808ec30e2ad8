"""LTD-DR: weights and labels of the logs, learned from randomised rows."""

from dataclasses import replace

import pytest

from dfl.methods import BilevelSettings, LtdDr, TsmSl
from dfl.models import MLP, AbstractModel
from tests.methods.toy import SMALL, logs, outcomes

pytestmark = pytest.mark.filterwarnings("ignore:no upper step is taken")  # some want none

UPPER = BilevelSettings(hidden=(4,), every=2, steps=3, batch_size=512, warm_epochs=1, reach=2.0)
TRAINING = replace(SMALL, epochs=8, batch_size=256, min_steps=400)


def error(model: AbstractModel) -> float:
    """Mean squared error of predicted revenue, against the truth."""
    features = logs(2_000, seed=9).features
    truth = outcomes(features)[0]
    return float((model.predict(features).revenue - truth).square().mean())


def test_the_outer_network_is_logged_and_moves() -> None:
    short = replace(TRAINING, epochs=3, min_steps=60)
    model = LtdDr(network=MLP((8,)), training=short, upper=UPPER).fit(
        rct=logs(1_024, seed=1), obs=logs(2_048, source="obs", seed=2)
    )
    epochs = model.history["target"]
    assert "upper_loss" not in epochs[0]
    assert all("upper_loss" in epoch for epoch in epochs[1:])
    assert epochs[-1]["reading_spread"] > 0


def test_randomised_rows_mend_what_the_logs_get_wrong() -> None:
    confounded = logs(4_096, source="obs", seed=2)
    lies = replace(confounded, revenue=confounded.revenue - 2.0 * confounded.treatment)
    rows = {"rct": logs(2_048, seed=1), "obs": lies, "validation": logs(1_024, seed=3)}
    believed = TsmSl(rows="obs", network=MLP((16,)), training=TRAINING).fit(**rows)
    learned = LtdDr(network=MLP((16,)), training=TRAINING, upper=UPPER).fit(**rows)
    assert error(learned) < 0.8 * error(believed)


def test_an_outer_network_that_stays_put_leaves_logs_and_their_own_imputation() -> None:
    still = replace(UPPER, warm_epochs=100)
    rows = {"rct": logs(512, seed=1), "obs": logs(4_096, source="obs", seed=2)}
    model = LtdDr(network=MLP((16,)), training=TRAINING, upper=still).fit(**rows)
    plain = TsmSl(rows="obs", network=MLP((16,)), training=TRAINING).fit(obs=rows["obs"])
    assert error(model) < 1.5 * error(plain) + 0.05
