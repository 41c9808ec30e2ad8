"""Representations: whose layers, which axes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.errors import InvalidValueError
from dfl.methods import Grounded, Hrc, Training, TsmSl
from dfl.models import (
    MLP,
    AbstractModel,
    ArmHeads,
    Logs,
    NetworkEnsemble,
    Prediction,
    State,
)
from dfl.segments import Representation
from dfl.segments.representation import Kind, _raw
from tests.methods.toy import logs


@dataclass(frozen=True, eq=False)
class _Echo(AbstractModel):
    """Predicts the features themselves, three of them."""

    history: Mapping[str, list[Logs]] = field(default_factory=dict)
    features = treatments = 3

    def predict_rows(self, features: Tensor, *, spread: bool) -> Prediction:
        return Prediction(features, features)

    def state(self) -> State:
        raise NotImplementedError

    @classmethod
    def of_state(cls, state: State) -> "_Echo":
        raise NotImplementedError


TRAINING = Training(epochs=2, batch_size=64, min_steps=1, members=2, weight_decay=(0.1,))


def fitted(network: MLP | ArmHeads) -> NetworkEnsemble:
    model = TsmSl(network=network, training=TRAINING, rows="rct").fit(rct=logs(300, seed=1))
    assert isinstance(model, NetworkEnsemble)
    return model


@pytest.mark.parametrize("network", [MLP((8, 6, 4)), ArmHeads((8, 6), (4,))])
def test_hidden_is_the_output_of_the_first_two_layers_of_every_member(
    network: MLP | ArmHeads,
) -> None:
    model, features = fitted(network), logs(50, seed=2).features
    found = _raw(model, features, "hidden", 2)
    rows = model.scaling.standardise(features)
    for member in range(2):
        one = {name: value[member] for name, value in model.parameters.items()}
        hidden = rows
        for layer in (0, 2):
            hidden = (hidden @ one[f"body.{layer}.weight"].T + one[f"body.{layer}.bias"]).relu()
        assert_close(found[:, 6 * member : 6 * member + 6], hidden)
    assert _raw(model, features, "hidden", 1).shape == (50, 16)
    last = 4 if isinstance(network, MLP) else 6
    assert _raw(model, features, "hidden", 9).shape == (50, 2 * last)


def test_networks_that_are_given_ranks_have_hidden_layers_too() -> None:
    training = replace(TRAINING, ranks=True)
    model = TsmSl(network=MLP((5, 4)), training=training, rows="rct").fit(rct=logs(300, seed=1))
    assert _raw(model, logs(9, seed=2).features, "hidden", 2).shape == (9, 8)


def test_all_layers_count_where_there_are_fewer() -> None:
    model = fitted(MLP((5,)))
    assert _raw(model, logs(9, seed=2).features, "hidden", 2).shape == (9, 10)


def test_coordinates_are_uncorrelated_and_hold_most_of_the_variance() -> None:
    model, features = fitted(MLP((16, 8))), logs(2_000, seed=3).features
    found = Representation.fit(model, features, "hidden", 2)
    points = found(model, features).double()
    assert_close(points.mean(dim=0), torch.zeros(points.shape[1]).double(), rtol=0, atol=1e-5)
    cov = points.T @ points / 2_000
    assert_close(cov, cov.diagonal().diag(), rtol=0, atol=1e-4)
    raw = _raw(model, features, "hidden", 2)
    alive = int((raw.std(dim=0) > 1e-5).sum())
    assert 0.95 * alive <= float(cov.trace()) <= alive + 1e-3
    assert points.shape[1] < raw.shape[1]


def test_other_kinds() -> None:
    model, features = fitted(MLP((4,))), logs(500, seed=3).features
    assert _raw(model, features, "features", 2) is features
    assert _raw(model, features, "predictions", 2).shape == (500, 6)
    random = _raw(model, features, "random", 2)
    assert random.shape == (500, 1)
    assert bool(((random >= 0) & (random <= 1)).all())
    assert _raw(model, features, "random", 2).equal(random)
    shifted = _raw(model, features + 1e-3, "random", 2)
    assert abs(float(torch.corrcoef(torch.cat([random, shifted], 1).T)[0, 1])) < 0.2


@pytest.mark.parametrize("kind", ["features", "predictions"])
def test_the_unit_of_a_column_does_not_matter(kind: Kind) -> None:
    features = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    features[:, 1] = 0.1  # says nothing
    unit = torch.tensor([1e7, 1, 1])
    plain, moved = (
        Representation.fit(_Echo(), one, kind, 1) for one in (features, features * unit)
    )
    wide = torch.cat([unit, unit]) if kind == "predictions" else unit
    axes = moved.axes * wide[:, None]
    assert_close(axes @ axes.T, plain.axes @ plain.axes.T)  # whatever their order and signs
    assert (plain.axes.abs().sum(dim=1) > 0).tolist() == [True, False, True] * (len(wide) // 3)


@pytest.mark.parametrize("kind", ["features", "predictions", "random"])
def test_whole_numbers_are_represented_as_such(kind: Kind) -> None:
    features = (5 * torch.randn(400, 3, generator=torch.Generator().manual_seed(0))).round()
    whole, plain = (
        Representation.fit(_Echo(), one, kind, 1) for one in (features.long(), features)
    )
    assert_close(whole.axes, plain.axes)
    assert_close(whole(_Echo(), features.long()), plain(_Echo(), features))


def test_the_networks_inside_a_grounded_model_count() -> None:
    base = TsmSl(network=MLP((4, 3)), training=TRAINING, rows="rct")
    model = Grounded(base=base).fit(rct=logs(300, seed=1))
    assert _raw(model, logs(10, seed=2).features, "hidden", 2).shape == (10, 6)


def test_what_has_no_hidden_layers_is_refused() -> None:
    linear = fitted(MLP(()))
    features = logs(30, seed=2).features
    with pytest.raises(InvalidValueError, match="needs hidden layers"):
        Representation.fit(linear, features, "hidden", 2)
    segments = Hrc(
        base=TsmSl(rows="rct", network=MLP((4,)), training=TRAINING), counts=(2,), cell=5
    ).fit(rct=logs(300, seed=1))
    with pytest.raises(InvalidValueError, match="needs a model of networks, got SegmentModel"):
        Representation.fit(segments, features, "hidden", 2)
    with pytest.raises(InvalidValueError, match="representation must be one of"):
        Representation.fit(linear, features, "soul", 2)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="layers must be >= 1"):
        Representation.fit(linear, features, "features", 0)
    with pytest.raises(InvalidValueError, match="number of people must be >= 1, got 0"):
        Representation.fit(linear, features[:0], "features", 1)
