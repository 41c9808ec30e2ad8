"""`Dfcl`: two-stage training followed by training on the decisions themselves."""

from dataclasses import dataclass, field, replace
from typing import final

import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.data.uplift_data import UpliftData
from dfl.errors import InvalidValueError
from dfl.losses.base import AbstractDecisionLoss
from dfl.losses.prediction import factual_loss
from dfl.losses.primal_policy import PrimalPolicy
from dfl.methods.base import AbstractMethod, Part
from dfl.models import MLP, Parameters
from dfl.training.decision_level import DecisionLevel
from dfl.training.factual import fit_factual
from dfl.training.loop import Stage
from dfl.training.monitor import Monitor
from dfl.training.networks import Cohort
from dfl.training.nuisance import CrossFit
from dfl.training.rows import Batch
from dfl.training.settings import Training, TrainingSet

__all__ = ["Dfcl"]

_VALIDATION_ROWS = 65_536  # at most, of each set: all networks value them at once


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Dfcl(AbstractMethod):
    """Decision-focused causal learning on randomised rows.

    ``loss = prediction_weight * factual loss + decision loss``, both in units of the
    revenue's scale, starting from networks trained on the factual loss alone: from scratch
    the decision loss finds no gradient worth following.

    Args:
        loss: the decision loss; ``dfcl-ppl`` is `PrimalPolicy`. For a doubly robust one, five
            networks per set are cross-fitted first.
        budgets: the budgets to decide well at; the decision loss is their mean.
        prediction_weight: alpha of the papers, >= 0.
        decision_epochs: epochs of the second stage, >= 1. Kept is the epoch with the
            smallest loss on validation rows, be it the start; the last one without such rows.
        network: sizes of each network.
        training: settings of training.

    Raises:
        InvalidValueError: if a number is out of range or there is no budget.

    Source:
        Zhou et al. (2024), arXiv:2407.13664, algorithm 1; named DFCL-PPL in
        arXiv:2510.19517. Deviations: those of the decision loss; the whole warm start
        precedes the decision stage.
    """

    loss: AbstractDecisionLoss = field(default_factory=PrimalPolicy)
    budgets: tuple[Budget, ...] = (Budget(share=0.3),)
    prediction_weight: float = 1.0
    decision_epochs: int = 10
    network: MLP = field(default_factory=MLP)
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.budgets:
            raise InvalidValueError("budgets must hold at least one budget, got none.")
        if not self.prediction_weight >= 0:
            raise InvalidValueError(
                f"prediction_weight must be >= 0, got {self.prediction_weight:g}."
            )
        if self.decision_epochs < 1:
            raise InvalidValueError(f"decision_epochs must be >= 1, got {self.decision_epochs}.")

    @property
    def uses(self) -> tuple[Part, ...]:
        """Randomised rows alone."""
        return ("rct",)

    def train(self, cohort: Cohort, monitor: Monitor) -> Parameters:
        """Train on predictions, then on predictions and decisions."""
        start = fit_factual("warm-start", cohort, "rct", self.training, monitor)
        network, decision = cohort.network, DecisionLevel.of(cohort, self.loss, self.budgets)

        def loss(parameters: Parameters, batch: Batch) -> Tensor:
            outcomes = network(parameters, batch.features)
            factual = factual_loss(outcomes, batch.treatment, batch.outcome)
            return self.prediction_weight * factual + decision(outcomes, batch)

        held, pool = cohort.validation_batch(_VALIDATION_ROWS), cohort.pool(_randomised)
        if self.loss.needs_baseline:
            baseline = CrossFit.of(cohort, self.training, monitor)
            pool = baseline.on_rows(pool)
            held = None if held is None else baseline.on_unseen(held, cohort.plan.dataset)

        @torch.no_grad()
        def criterion(parameters: Parameters) -> Tensor | None:
            return None if held is None else loss(parameters, held)

        share = self.decision_epochs / self.training.epochs
        training = replace(
            self.training,
            epochs=self.decision_epochs,
            min_steps=max(round(self.training.min_steps * share), 1),
        )
        stage = Stage(
            name="decision",
            cohort=cohort,
            pool=pool,
            training=training,
            loss=loss,
            criterion=criterion,
            monitor=monitor,
        )
        return stage.run(start)


def _randomised(one: TrainingSet) -> list[UpliftData]:
    return one.rows("rct")
