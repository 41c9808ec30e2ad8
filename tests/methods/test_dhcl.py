"""DHCL: ratios learned directly, costs predicted, and what moves what."""

from dataclasses import replace

import pytest
import torch

from dfl.errors import InvalidValueError
from dfl.losses import LoggedBatch, MarginalUtility, Roi
from dfl.methods import METHODS, Dhcl, TrainingSet
from dfl.methods.dhcl import _Ladder
from dfl.models import MLP, NetworkEnsemble
from dfl.models.standardisation import Scaling
from dfl.training.decision_level import per_head
from tests.methods.toy import ONCE, SMALL, found, logs, outcomes

RCT = logs(1_024, seed=1, dtype=torch.float64)


@pytest.mark.parametrize("loss", [Roi(), MarginalUtility()])
def test_the_loss_is_the_one_of_the_docstring(loss: Roi | MarginalUtility) -> None:
    model = Dhcl(loss=loss, cost_weight=0.5, network=MLP((4,)), training=ONCE).fit(rct=RCT)
    assert isinstance(model, NetworkEnsemble)
    raw, y = found(model, RCT)["outcomes"], model.scaling.outcomes(RCT.revenue, RCT.cost)
    own = torch.arange(len(RCT)), slice(None), RCT.treatment
    error = (y - raw[own]).square()
    level = error[:, 1].mean() + (error[:, 0] * (RCT.treatment == 0)).mean()
    means = torch.stack([per_head(RCT, column) for column in (RCT.revenue, RCT.cost)])
    chance = RCT.revenue.var(correction=0) * RCT.arm_counts.double().reciprocal().mean()
    unit = (means[0].var(correction=0) + chance).sqrt() / means[1].std(correction=0)
    batch = LoggedBatch(RCT.treatment, RCT.revenue / unit, RCT.cost, RCT.weight)
    revenue, cost = model.scaling.currency(raw)
    ratio = unit * loss(revenue / unit, cost, batch, 1.0) / model.scaling.revenue_scale
    expected = float(ratio + 0.5 * level)
    assert model.history["target"][0]["loss"] == pytest.approx(expected, rel=1e-5)


def test_the_return_on_cost_is_learned() -> None:
    training = replace(
        SMALL, epochs=4, batch_size=512, members=1, min_steps=160, learning_rate=1e-2
    )
    model = Dhcl(network=MLP((16,)), training=training).fit(
        rct=logs(4_000, seed=1), validation=logs(1_000, seed=3)
    )
    features = logs(1_000, seed=5).features
    revenue, cost = outcomes(features)
    truth = (revenue[:, 1:] - revenue[:, :1]) / (cost[:, 1:] - cost[:, :1])
    found_ = model.predict(features)
    learned = found_.revenue[:, 1:] - found_.revenue[:, :1]
    learned = learned / (found_.cost[:, 1:] - found_.cost[:, :1])
    both = torch.stack((truth.log().flatten(), learned.clamp(min=1e-3).log().flatten()))
    assert float(torch.corrcoef(both)[0, 1]) > 0.5


@pytest.mark.parametrize("loss", [Roi(), MarginalUtility()])
def test_what_is_learned_hangs_on_no_currency(loss: Roi | MarginalUtility) -> None:
    method = Dhcl(loss=loss, network=MLP((4,)), training=SMALL)
    plain = method.fit(rct=RCT).predict(RCT.features)
    other = replace(RCT, revenue=RCT.revenue / 128, cost=RCT.cost * 1_024)
    found_ = method.fit(rct=other).predict(RCT.features)
    assert torch.allclose(128 * found_.revenue, plain.revenue)
    assert torch.allclose(found_.cost / 1_024, plain.cost)


@pytest.mark.parametrize("loss", [Roi(), MarginalUtility()])
def test_the_loss_does_not_depend_on_the_numbers_of_treatments(
    loss: Roi | MarginalUtility,
) -> None:
    generator = torch.Generator().manual_seed(0)
    revenue, cost = torch.rand(2, 1, len(RCT), 3, generator=generator, dtype=torch.float64)
    number = torch.tensor([2, 0, 1])  # of each treatment, now
    losses = []
    for rct, place in (
        (RCT, torch.arange(3)),
        (replace(RCT, treatment=number[RCT.treatment]), number),
    ):
        ladder = _Ladder.of(loss, [TrainingSet(rct=rct)], [Scaling.fit(rct)], [0])
        columns = (rct.treatment, rct.revenue, rct.cost, rct.weight)
        batch = LoggedBatch(*(column[None] for column in columns))
        there = place.argsort()
        losses.append(ladder(revenue[..., there], cost[..., there], batch, 1.0))
    torch.testing.assert_close(*losses)


def test_the_names_are_the_two_losses() -> None:
    assert isinstance(METHODS.make("dhcl-drp").loss, Roi)  # type: ignore[attr-defined]
    assert isinstance(METHODS.make("dhcl-dpm").loss, MarginalUtility)  # type: ignore[attr-defined]


def test_without_validation_rows_the_last_epoch_is_kept() -> None:
    model = Dhcl(network=MLP((4,)), training=SMALL).fit(rct=RCT)
    assert all("validation" not in epoch for epoch in model.history["target"])


def test_a_weight_out_of_range_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="cost_weight must be > 0, got 0"):
        Dhcl(cost_weight=0.0)
