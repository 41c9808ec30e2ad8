"""The engine, on a lower level whose best outer network is known."""

from dataclasses import replace
from typing import final

import pytest
import torch
from torch import Tensor

from dfl.errors import InvalidValueError
from dfl.hypergrad import AbstractHypergradient, Hypergradient, Identity
from dfl.hypergrad.base import Loss
from dfl.models import MLP, Parameters, Scaling
from dfl.training.bilevel import (
    Bilevel,
    BilevelSettings,
    NoUpperStepWarning,
    Outer,
    OuterLearner,
    default_hypergradient,
)
from dfl.training.levels import FactualLevel, LowerLevel
from dfl.training.monitor import Monitor
from dfl.training.networks import NetworkPlan, Networks
from dfl.training.rows import Batch
from dfl.training.settings import TrainingSet
from tests.methods.toy import ARMS, SMALL, logs

SETTINGS = BilevelSettings(hidden=(), every=1, steps=2, batch_size=512, warm_epochs=0, reach=4.0)


def problem(labels: Tensor, monitor: Monitor) -> tuple[Bilevel, Networks]:
    """Targets learn labels of a table, shifted per outcome by the outer network."""
    one = TrainingSet(rct=logs(1_024, seed=1), seed=0)
    plan = NetworkPlan.of([one], 1, [[0.0]])
    networks = Networks([one], [Scaling.fit(*one.parts)], plan, MLP(()), "")
    pool = networks.pool(lambda part: part.rows("rct"))

    def loss(outcomes: Tensor, batch: Batch, shift: Tensor) -> Tensor:
        target = labels[batch.index] + shift
        return (outcomes - target).square().sum(dim=(-2, -1)).mean(dim=-1)

    return Bilevel(
        lower=LowerLevel(networks, pool, loss),
        upper=FactualLevel(),
        rows=pool,
        outer=Outer(channels=2, reading=lambda phi: phi, bias=0.0, flat=True),
        hypergrad=default_hypergradient(),
        settings=SETTINGS,
        training=replace(SMALL, epochs=30, batch_size=256, min_steps=300, learning_rate=1e-2),
    ), networks


def test_the_outer_network_finds_what_the_labels_lack() -> None:
    monitor = Monitor()
    labels = torch.zeros(1_024, 2, ARMS)
    bilevel, networks = problem(labels, monitor)
    target, reading = bilevel.run("target", monitor)
    shift = reading(bilevel.lower.pool.features[None]).mean(dim=1)[0]  # (2, M)
    outcome, treatment = bilevel.rows.outcome, bilevel.rows.treatment
    means = torch.stack([outcome[treatment == arm].mean(dim=0) for arm in range(ARMS)], dim=1)
    assert float((shift[0] - means[0]).abs().max()) < 0.25
    upper = [epoch["upper_loss"] for epoch in monitor.history["target"]]
    assert upper[-1] < 0.8 * upper[0]
    assert set(target) == set(networks.stacked.initial([0]))


@final
class Counted(AbstractHypergradient):
    """Counts how often it is asked."""

    needs_optimum = True

    def __init__(self) -> None:
        self.asked = 0

    def __call__(
        self, inner_loss: Loss, outer_loss: Loss, inner: Parameters, outer: Parameters
    ) -> Hypergradient:
        self.asked += 1
        return Identity()(inner_loss, outer_loss, inner, outer)


@pytest.mark.parametrize(("every", "asked"), [(1, 8), (3, 4), (4, 2), (40, 2)])
def test_an_upper_step_is_taken_before_every_so_many_lower_steps(every: int, asked: int) -> None:
    """Of two epochs of four steps each; every epoch begins with one."""
    counted = Counted()
    bilevel, _ = problem(torch.zeros(1_024, 2, ARMS), Monitor())
    settings = replace(SETTINGS, every=every, steps=0)
    training = replace(bilevel.training, epochs=2, min_steps=1)
    replace(bilevel, hypergrad=counted, settings=settings, training=training).run("t", Monitor())
    assert counted.asked == asked


def test_training_that_ends_before_the_first_upper_step_says_so() -> None:
    bilevel, _ = problem(torch.zeros(1_024, 2, ARMS), Monitor())
    waiting = replace(SETTINGS, warm_epochs=30)
    with pytest.warns(
        NoUpperStepWarning, match=r"upper\.warm_epochs is 30, training\.epochs 30; take"
    ):
        OuterLearner(replace(bilevel, settings=waiting))
    OuterLearner(replace(bilevel, settings=replace(SETTINGS, warm_epochs=29)))


def test_the_reading_carries_no_gradient_and_is_one_per_network() -> None:
    bilevel, _ = problem(torch.zeros(1_024, 2, ARMS), Monitor())
    short = replace(bilevel, training=replace(bilevel.training, epochs=1, min_steps=1))
    reading = short.run("target", Monitor())[1](short.rows.features[None, :7])
    assert reading.shape == (1, 7, 2, ARMS)
    assert not reading.requires_grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reach": 0.0}, "reach must be > 0, got 0"),
        ({"every": 0}, "every must be >= 1, got 0"),
        ({"steps": -1}, "steps must be >= 0, got -1"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"warm_epochs": -1}, "warm_epochs must be >= 0, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        BilevelSettings(**options)  # type: ignore[arg-type]
