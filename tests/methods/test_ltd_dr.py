"""LTD-DR: weights and labels of the logs, learned from randomised rows."""

from dataclasses import replace

import pytest
import torch

from dfl.methods import BilevelSettings, LtdDr, TsmSl
from dfl.models import MLP, AbstractModel
from tests.methods.toy import ARMS, ONCE, SMALL, logs, lower_level, outcomes, training_set

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


def test_the_lower_loss_is_the_one_of_the_docstring(monkeypatch: pytest.MonkeyPatch) -> None:
    one = training_set(0)
    lower, imputed = lower_level(LtdDr(network=MLP((4,)), training=ONCE), one, monkeypatch)
    people, generator = torch.arange(9), torch.Generator().manual_seed(0)
    batch, obs = lower.pool.take(people[None]), one.obs
    assert obs is not None
    f, phi = (torch.randn(1, 9, n, ARMS, generator=generator).double() for n in (2, 3))
    t, y = batch.treatment[0], batch.outcome[0]
    weight = (len(obs) / (ARMS * obs.arm_counts))[t] * phi[0, people, 0, t].exp()
    m = imputed[people] + phi[0, :, 1:]
    own = people, slice(None), t
    seen = (y - f[0][own]).square() - (m[own] - f[0][own]).square()
    each = (m - f[0]).square().sum(dim=(1, 2)) / ARMS + weight * seen.sum(dim=1)
    torch.testing.assert_close(lower.loss(f, batch, phi), each.mean()[None])
