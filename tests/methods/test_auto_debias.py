"""AutoDebias: two weights and the imputed outcomes, learned from randomised rows."""

from dataclasses import replace

import pytest
import torch

from dfl.hypergrad import GaussNewton
from dfl.methods import AutoDebias, BilevelSettings
from dfl.models import MLP, AbstractModel
from tests.methods.toy import ARMS, ONCE, SMALL, logs, lower_level, outcomes, training_set

pytestmark = pytest.mark.filterwarnings("ignore:no upper step is taken")  # some want none

UPPER = BilevelSettings(hidden=(8,), every=3, steps=1, batch_size=256, warm_epochs=1, reach=3.0)
TRAINING = replace(SMALL, epochs=2, batch_size=128, members=1, min_steps=60, learning_rate=2e-2)
FEW = GaussNewton(max_iter=3, on_failure="return")


def test_the_lower_loss_is_the_one_of_the_docstring(monkeypatch: pytest.MonkeyPatch) -> None:
    one = training_set(0)
    lower, imputed = lower_level(AutoDebias(network=MLP((4,)), training=ONCE), one, monkeypatch)
    people, generator = torch.arange(9), torch.Generator().manual_seed(0)
    batch, obs = lower.pool.take(people[None]), one.obs
    assert obs is not None
    f, phi = (torch.randn(1, 9, n, ARMS, generator=generator).double() for n in (2, 4))
    phi[0, 0, 1] = 9.0  # more than the largest factor of a cell
    t, y = batch.treatment[0], batch.outcome[0]
    weight = (len(obs) / (ARMS * obs.arm_counts))[t] * phi[0, people, 0, t].exp()
    cell = phi[0, :, 1].clamp(max=3).exp()
    m = imputed[people] + phi[0, :, 2:]
    seen = weight * (y - f[0][people, :, t]).square().sum(dim=1)
    everywhere = (cell * (m - f[0]).square().sum(dim=1)).sum(dim=1) / ARMS
    torch.testing.assert_close(lower.loss(f, batch, phi), (seen + everywhere).mean()[None])


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
