"""KD-Feature: the pull on the representation, and what is left without it."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from dfl.errors import InvalidValueError
from dfl.methods import KdFeature, TsmSl, kd_feature
from dfl.models import MLP, NetworkEnsemble, Parameters
from dfl.training.fit import fit_factual
from tests.methods.toy import ONCE, SMALL, factual_errors, found, logs

RCT, OBS = (
    logs(400, seed=1, dtype=torch.float64),
    logs(512, source="obs", seed=2, dtype=torch.float64),
)


def test_without_the_pull_it_is_the_two_stage_method_on_logs() -> None:
    free = KdFeature(gamma=0, network=MLP((8,)), training=SMALL).fit(rct=RCT, obs=OBS)
    # One scaling over all rows: the two-stage method must see the same ones.
    plain = TsmSl(rows="both", network=MLP((8,)), training=SMALL).fit(rct=RCT, obs=OBS)
    assert torch.equal(free.scaling.revenue_mean, plain.scaling.revenue_mean)  # type: ignore[attr-defined]
    pulled = KdFeature(network=MLP((8,)), training=SMALL).fit(rct=RCT, obs=OBS)
    assert not torch.allclose(found(free, OBS)["hidden"], found(pulled, OBS)["hidden"], atol=1e-3)


def test_the_loss_is_the_one_of_the_docstring(monkeypatch: pytest.MonkeyPatch) -> None:
    taught: list[Parameters] = []

    def remembered(*args: Any) -> Parameters:
        taught.append(fit_factual(*args))
        return taught[0]

    monkeypatch.setattr(kd_feature, "fit_factual", remembered)
    model = KdFeature(gamma=2.0, network=MLP((4,)), training=ONCE).fit(rct=RCT, obs=OBS)
    assert isinstance(model, NetworkEnsemble)
    teacher = replace(model, parameters=taught[0])
    gap = (found(model, OBS)["hidden"] - found(teacher, OBS)["hidden"]).square().mean()
    expected = float(factual_errors(model, OBS).mean() + 2 * gap)
    assert float(gap) > 0.01
    assert model.history["target"][0]["loss"] == pytest.approx(expected, rel=1e-6)


def test_a_strong_pull_brings_the_student_to_its_teacher() -> None:
    training = replace(SMALL, epochs=2, members=1, min_steps=80, learning_rate=2e-2)
    training = replace(training, averaging=0.0, schedule="constant", weight_decay=(1.0,))
    losses = []
    for gamma in (0.0, 100.0):
        model = KdFeature(gamma=gamma, network=MLP((8,)), training=training).fit(rct=RCT, obs=OBS)
        losses.append([epoch["loss"] for epoch in model.history["target"]])
    assert losses[1][-1] < 0.2 * losses[1][0]  # nearly all of it was distance


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="gamma must be >= 0, got -1"):
        KdFeature(gamma=-1.0)
