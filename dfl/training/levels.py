"""Levels of bilevel training: a lower one that reads what another network says, an upper one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, final

from torch import Tensor

from dfl.losses.prediction import (
    PseudoLabelGradient,
    at_treatment,
    factual_loss,
    pseudo_label_loss,
)
from dfl.models import Logs, Parameters
from dfl.training.loop import Companion, Level, Stage
from dfl.training.monitor import Monitor
from dfl.training.networks import Networks
from dfl.training.rows import Batch, RowPool
from dfl.training.settings import Rows, Training

__all__ = [
    "FactualLevel",
    "LowerLevel",
    "Reading",
    "UpperLevel",
    "distillation",
    "row_factor",
    "weighted_rows",
]

Reading: TypeAlias = Callable[[Tensor], Any]
"""From standardised features ``(K, B, F)`` to what a lower loss reads: trust, weights, labels."""


class UpperLevel(Level, Protocol):
    """A loss of predicted outcomes on the upper level's rows."""

    def __call__(self, outcomes: Tensor, batch: Batch, /) -> Tensor:
        """Return the loss ``(K,)`` of outcomes ``(K, B, 2, M)`` of a batch of the level's rows."""


@final
@dataclass(frozen=True, eq=False)
class LowerLevel:
    """A prediction loss of the target networks that depends on something learned beside them.

    Args:
        networks: the target networks.
        pool: their training rows.
        loss: ``(outcomes (K, B, 2, M), batch, reading) -> (K,)``, a mean over rows, so that
            processes can share them, and convex in the outcomes, so that Gauss-Newton products
            are positive.
    """

    networks: Networks
    pool: RowPool
    loss: Callable[[Tensor, Batch, Any], Tensor]

    def train(
        self,
        name: str,
        reading: Reading,
        training: Training,
        monitor: Monitor,
        companion: Companion | None = None,
    ) -> Parameters:
        """Train the target networks under a reading, which a companion may be learning."""
        network = self.networks.stacked

        def loss(parameters: Parameters, batch: Batch) -> Tensor:
            return self.loss(network(parameters, batch.features), batch, reading(batch.features))

        stage = Stage(
            name=name,
            networks=self.networks,
            pool=self.pool,
            training=training,
            loss=loss,
            criterion=self.networks.validation_error,
            companion=companion,
            by_rows=True,
            monitor=monitor,
        )
        return stage.run(self.networks.initial(network, name))


@final
class FactualLevel:
    """The factual loss of the targets: the upper level of methods that learn to debias."""

    def start_epoch(self, parameters: Parameters) -> None:
        """Prepare nothing."""

    def __call__(self, outcomes: Tensor, batch: Batch, /) -> Tensor:
        """Return the loss."""
        return factual_loss(outcomes, batch.treatment, batch.outcome)

    def logs(self) -> Logs:
        """Return nothing."""
        return {}


def row_factor(phi: Tensor, treatment: Tensor) -> Tensor:
    """Return what an outer network multiplies each row's weight by, between 1/20 and 20.

    Args:
        phi: its outputs ``(K, B, C, M)``; the first channel holds log factors.
        treatment: received. Shape ``(K, B)``.
    """
    return at_treatment(phi[..., :1, :], treatment).squeeze(-1).clamp(-3, 3).exp()


def distillation(
    networks: Networks, rows: Rows, teachers: Parameters, gradient: PseudoLabelGradient
) -> LowerLevel:
    """Return prediction on logs, with the teacher's answer where nothing was observed.

    The reading is the trust in the teacher, ``(K, B, 2, M)`` or a number.

    Args:
        networks: the target networks.
        rows: which rows they train on.
        teachers: a set's teacher is the mean of its teacher networks.
        gradient: how the gradient treats the target inside its own pseudo-labels.
    """
    pool = networks.pool(lambda one: one.rows(rows))
    teacher = networks.ensemble_outcomes(teachers, pool)

    def loss(outcomes: Tensor, batch: Batch, trust: Tensor | float) -> Tensor:
        labels = batch.gather(teacher)
        return pseudo_label_loss(outcomes, batch.treatment, batch.outcome, labels, trust, gradient)

    return LowerLevel(networks, pool, loss)


def weighted_rows(networks: Networks, rows: Rows) -> LowerLevel:
    """Return prediction on logs whose rows count as much as another network says.

    ``mean_i sum_o w_{i,o,t_i} (y_io - f_{i,o,t_i})^2`` over both outcomes ``o``; the reading is the
    weight, ``(K, B, 2, M)``, of which the entry of the treatment received counts.

    Args:
        networks: the target networks.
        rows: which rows they train on.
    """

    def loss(outcomes: Tensor, batch: Batch, weight: Tensor) -> Tensor:
        error = (batch.outcome - at_treatment(outcomes, batch.treatment)).square()
        return (at_treatment(weight, batch.treatment) * error).sum(dim=-1).mean(dim=-1)

    return LowerLevel(networks, networks.pool(lambda one: one.rows(rows)), loss)
