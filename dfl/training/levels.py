"""The lower level that distillation and bilevel methods share: logs plus a gated teacher."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from torch import Tensor

from dfl.losses.prediction import PseudoLabelGradient, pseudo_label_loss
from dfl.models import Parameters
from dfl.training.loop import Companion, Stage, purpose_of
from dfl.training.monitor import Monitor
from dfl.training.networks import Cohort
from dfl.training.rows import Batch, RowPool
from dfl.training.settings import Rows, Training

__all__ = ["Gate", "LowerLevel"]

Gate = Callable[[Tensor], Tensor | float]
"""Turns standardised features ``(K, B, F)`` into trust in the teacher ``(K, B, 2, M)``."""


@final
@dataclass(frozen=True, eq=False)
class LowerLevel:
    """Prediction on logged rows, with the teacher's answer where nothing was observed.

    Args:
        cohort: the networks.
        pool: the rows.
        teacher: the teacher's outcomes for every row of the pool. Shape ``(R, 2, M)``.
        gradient: how the gradient treats the target inside its own pseudo-labels.
    """

    cohort: Cohort
    pool: RowPool
    teacher: Tensor
    gradient: PseudoLabelGradient

    @staticmethod
    def of(
        cohort: Cohort, rows: Rows, teachers: Parameters, gradient: PseudoLabelGradient
    ) -> "LowerLevel":
        """Build the level; each set's teacher is the mean of its teacher networks."""
        pool = cohort.pool(lambda one: one.rows(rows))
        return LowerLevel(cohort, pool, cohort.ensemble_outcomes(teachers, pool), gradient)

    def loss(self, outcomes: Tensor, batch: Batch, gate: Tensor | float) -> Tensor:
        """Return the loss ``(K,)`` of predicted outcomes ``(K, B, 2, M)``."""
        return pseudo_label_loss(
            outcomes, batch.treatment, batch.outcome, self.teacher[batch.index], gate, self.gradient
        )

    def train(
        self,
        name: str,
        gate: Gate,
        training: Training,
        monitor: Monitor,
        companion: Companion | None = None,
    ) -> Parameters:
        """Train the target networks under a gate, which a companion may be learning."""
        network = self.cohort.network

        def loss(parameters: Parameters, batch: Batch) -> Tensor:
            return self.loss(network(parameters, batch.features), batch, gate(batch.features))

        stage = Stage(
            name=name,
            cohort=self.cohort,
            pool=self.pool,
            training=training,
            loss=loss,
            criterion=self.cohort.validation_error,
            companion=companion,
            monitor=monitor,
        )
        return stage.run(self.cohort.initial(network, purpose_of("target")))
