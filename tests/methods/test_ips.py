"""IPS: chances learned from the logs, and the weights they give."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import InvalidValueError
from dfl.methods import Ips, TsmSl
from dfl.models import MLP, Scaling
from dfl.training.monitor import Monitor
from dfl.training.networks import NetworkPlan, Networks
from dfl.training.propensity import inverse_chances
from dfl.training.settings import TrainingSet
from tests.methods.toy import ONCE, SMALL, factual_errors, logs


def chance_received(seed: int) -> torch.Tensor:
    """The toy policy's own chance of the treatment received."""
    rows = logs(1_000, source="obs", seed=seed)
    chance = (1.5 * rows.features[:, 1:2] * torch.arange(3)).softmax(dim=1)
    return chance.gather(1, rows.treatment[:, None]).squeeze(1)


def networks(*sets: TrainingSet) -> Networks:
    scalings = [Scaling.fit(*one.rows("both")) for one in sets]
    plan = NetworkPlan.of(sets, 2, [[0.01]] * len(sets))
    return Networks(sets, scalings, plan, MLP((8,)), "")


def test_the_chances_are_those_of_the_policy() -> None:
    sets = [TrainingSet(obs=logs(1_000, source="obs", seed=seed)) for seed in (2, 5)]
    training = replace(SMALL, epochs=1, batch_size=256, min_steps=120, learning_rate=1e-2)
    weight = inverse_chances(networks(*sets), 0.05, training, Monitor())
    for found, seed in zip(weight.reshape(2, -1), (2, 5), strict=True):
        truth = 1 / (3 * chance_received(seed).clamp(min=0.05))
        assert float((1 / found - 1 / truth).abs().mean()) < 0.15
        assert float(found.max()) <= 1 / (3 * 0.05) * (1 + 1e-6)
        assert float(found.mean()) == pytest.approx(1.0, abs=0.15)


def test_the_loss_is_the_one_of_the_docstring() -> None:
    rows = logs(512, source="obs", seed=2, dtype=torch.float64)
    model = Ips(network=MLP((4,)), training=ONCE).fit(obs=rows)
    one = replace(networks(TrainingSet(obs=rows)), plan=NetworkPlan((0,), (0,), (0.1,)))
    weight = inverse_chances(one, 0.05, ONCE, Monitor())
    expected = float((weight * factual_errors(model, rows)).mean())
    assert model.history["target"][0]["loss"] == pytest.approx(expected, rel=1e-6)


def test_with_chances_of_one_it_is_the_two_stage_method_on_logs() -> None:
    rows = logs(1_024, source="obs", seed=2, dtype=torch.float64)
    flat = Ips(least=1.0, network=MLP((8,)), training=SMALL).fit(obs=rows)
    plain = TsmSl(rows="obs", network=MLP((8,)), training=SMALL).fit(obs=rows)
    features = logs(50, seed=4, dtype=torch.float64).features
    found, expected = flat.predict(features).revenue, plain.predict(features).revenue
    assert_close(found, expected, rtol=1e-4, atol=1e-4)  # Adam's step hardly knows the scale


@pytest.mark.parametrize("least", [0.0, 1.5])
def test_a_chance_out_of_range_is_refused(least: float) -> None:
    with pytest.raises(InvalidValueError, match=rf"least must be in \(0, 1\], got {least:g}"):
        Ips(least=least)
