"""CausE: two sets of parameters, and how near they are held."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import InvalidValueError
from dfl.methods import CausE, TrainingSet, cause
from dfl.models import MLP, AbstractModel
from dfl.training.networks import Networks
from tests.methods.toy import ONCE, SMALL, factual_errors, logs, outcomes

RCT, OBS = (
    logs(512, seed=1, dtype=torch.float64),
    logs(512, source="obs", seed=2, dtype=torch.float64),
)
TRAINING = replace(SMALL, epochs=2, min_steps=100, members=1, learning_rate=2e-2)


def fit(beta: float) -> AbstractModel:
    lies = replace(OBS, revenue=OBS.revenue - 3.0 * OBS.treatment)
    return CausE(beta=beta, network=MLP((8,)), training=TRAINING).fit(rct=RCT, obs=lies)


def revenue_error(model: AbstractModel) -> float:
    features = logs(1_000, seed=9, dtype=torch.float64).features
    return float((model.predict(features).revenue - outcomes(features)[0]).square().mean())


def test_the_farther_apart_they_may_be_the_less_the_logs_lies_are_believed() -> None:
    free, near = revenue_error(fit(0.0)), revenue_error(fit(100.0))
    assert free < 0.5 * near


def test_the_loss_starts_as_the_factual_one_of_all_rows() -> None:
    model = CausE(network=MLP((4,)), training=ONCE).fit(rct=RCT, obs=OBS)
    errors = torch.cat([factual_errors(model, rows) for rows in (RCT, OBS)])
    expected = float(errors.mean())  # both sets start alike: no distance yet
    assert model.history["target"][0]["loss"] == pytest.approx(expected, rel=1e-6)


def test_the_distance_is_that_of_all_parameters_squared(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Networks, Any]] = []

    def remember(name: str, networks: Networks, *given: Any, **_: Any) -> Any:
        seen.append((networks, given[-1]))
        return networks.initial(networks.stacked, name)

    monkeypatch.setattr(cause, "fit_beside", remember)
    one = TrainingSet(rct=RCT, obs=OBS)
    for beta in (0.0, 3.0):
        CausE(beta=beta, network=MLP((4,)), training=ONCE).fit_many([one])
    networks = seen[0][0]
    own, beside = (networks.initial(networks.stacked, name) for name in ("one", "other"))
    batch = networks.pool(lambda part: part.rows("both")).take(torch.arange(64)[None])
    free, held = (loss(own, beside, batch) for _, loss in seen)
    apart = sum((own[name] - beside[name]).square().sum() for name in own)
    assert_close(held - free, 3 * apart[None])  # type: ignore[index]


def test_the_logs_alone_do_not_move_what_serves() -> None:
    changed = replace(OBS, features=OBS.features.flip(0))  # same means and scales, other rows
    first, second = (
        CausE(beta=0, network=MLP((8,)), training=SMALL).fit(rct=RCT, obs=rows)
        for rows in (OBS, changed)
    )
    features = logs(50, seed=4, dtype=torch.float64).features
    assert_close(first.predict(features).revenue, second.predict(features).revenue)


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="beta must be >= 0, got -1"):
        CausE(beta=-1.0)
