"""DragonNet: its three terms, and the network they need."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.functional import softplus
from torch.testing import assert_close

from dfl.errors import InvalidValueError
from dfl.methods import DragonNet, TrainingSet, TsmSl, dragonnet
from dfl.models import MLP, ArmHeads, NetworkEnsemble
from dfl.training.networks import Networks
from tests.methods.toy import ONCE, SMALL, logs

NETWORK = ArmHeads((8,), (4,), propensity=True)


def fit(method: DragonNet) -> NetworkEnsemble:
    model = method.fit(obs=logs(1_024, source="obs", seed=2), validation=logs(256, seed=3))
    assert isinstance(model, NetworkEnsemble)
    return model


def test_without_its_two_terms_it_is_the_two_stage_method() -> None:
    bare = fit(DragonNet(network=NETWORK, training=SMALL, alpha=0, beta=0))
    plain = TsmSl(rows="obs", network=NETWORK, training=SMALL).fit(
        obs=logs(1_024, source="obs", seed=2), validation=logs(256, seed=3)
    )
    features = logs(50, seed=4).features
    assert_close(bare.predict(features).revenue, plain.predict(features).revenue)


def test_the_propensity_is_learned_from_the_representation() -> None:
    rows = logs(4_000, source="obs", seed=2)
    training = replace(SMALL, epochs=15, min_steps=1_500)
    model = DragonNet(network=NETWORK, training=training).fit(obs=rows)
    assert isinstance(model, NetworkEnsemble)
    network = NETWORK.build(4, 3)
    network.load_state_dict({name: value[0] for name, value in model.parameters.items()})
    scores = network.details(model.scaling.standardise(rows.features))["propensity"].detach()
    chance = scores.softmax(dim=-1)
    expected = (1.5 * rows.features[:, 1:2] * torch.arange(3)).softmax(dim=1)
    assert float((chance - expected).abs().mean()) < 0.06


def test_epsilon_moves_where_the_targeted_term_counts() -> None:
    on = fit(DragonNet(network=NETWORK, training=SMALL, beta=1.0))
    off = fit(DragonNet(network=NETWORK, training=SMALL, beta=0.0))
    assert float(on.parameters["epsilon"].abs().max()) > 1e-4
    assert not bool(off.parameters["epsilon"].any())


def test_the_loss_is_the_one_of_the_docstring() -> None:
    rows = logs(1_024, source="obs", seed=2)
    once = replace(SMALL, epochs=1, batch_size=1_024, members=1, learning_rate=1e-12)
    found = DragonNet(network=NETWORK, training=once, alpha=0.5, beta=0.25).fit(obs=rows)
    assert isinstance(found, NetworkEnsemble)
    network = NETWORK.build(4, 3)
    network.load_state_dict({name: value[0] for name, value in found.parameters.items()})
    with torch.no_grad():
        details = network.details(found.scaling.standardise(rows.features))
    y = found.scaling.outcomes(rows.revenue, rows.cost)
    own = torch.arange(1_024), slice(None), rows.treatment
    factual = (y - details["outcomes"][own]).square().sum(dim=1).mean()
    entropy = -details["propensity"].log_softmax(dim=1)[own[0], rows.treatment].mean()
    assert float(details["outcomes"][:, 1].min()) >= 0 == float(softplus(torch.tensor(-1e9)))
    loss = found.history["target"][0]["loss"]  # epsilon is 0: the targeted term is the factual one
    assert loss == pytest.approx(float(1.25 * factual + 0.5 * entropy), rel=1e-4)


def test_the_targeted_term_divides_epsilon_by_the_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Networks, Any]] = []

    def remember(
        name: str, networks: Networks, rows: Any, training: Any, monitor: Any, loss: Any, **_: Any
    ) -> Any:
        seen.append((networks, loss))
        return networks.initial(networks.stacked, name)

    monkeypatch.setattr(dragonnet, "fit_rows", remember)
    one = TrainingSet(obs=logs(64, source="obs", seed=2, dtype=torch.float64))
    DragonNet(network=NETWORK, training=ONCE, alpha=0.0, beta=0.25).fit_many([one])
    networks, loss = seen[0]
    parameters = networks.initial(networks.stacked, "target")
    parameters["epsilon"] = torch.tensor([[[0.1, -0.2, 0.3], [0.4, 0.5, -0.6]]]).double()
    batch = networks.pool(lambda part: part.rows("obs")).take(torch.arange(64)[None])
    found = networks.stacked.details(parameters, batch.features)
    own = torch.arange(64), slice(None), batch.treatment[0]
    left = batch.outcome[0] - found["outcomes"][0][own]
    chance = found["propensity"][0].softmax(dim=1)[own[0], batch.treatment[0]].clamp(min=0.02)
    lift = parameters["epsilon"][0][:, batch.treatment[0]].mT / chance[:, None]
    expected = left.square().sum(dim=1) + 0.25 * (left - lift).square().sum(dim=1)
    assert_close(loss(parameters, batch), expected.mean()[None])


def test_a_network_without_a_propensity_head_is_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"network must predict propensity, got MLP.*take"):
        fit(DragonNet(network=MLP((8,)), training=SMALL))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -1.0}, "alpha must be >= 0, got -1"),
        ({"beta": -1.0}, "beta must be >= 0, got -1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        DragonNet(**options)  # type: ignore[arg-type]
