"""`Dfcl`: two-stage training followed by training on the decisions themselves."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import final

import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.checks import check_choice, check_count, check_number, check_part, check_several
from dfl.losses.base import AbstractDecisionLoss
from dfl.losses.prediction import factual_loss
from dfl.losses.primal_policy import PrimalPolicy
from dfl.methods.base import AbstractNetworkMethod
from dfl.models import Parameters
from dfl.training.decision_level import BUDGETS, DecisionLevel, PriceFrom
from dfl.training.fit import fit_factual
from dfl.training.loop import Stage
from dfl.training.monitor import Monitor
from dfl.training.networks import Networks
from dfl.training.nuisance import CrossFitted
from dfl.training.rows import Batch
from dfl.training.settings import Part
from dfl.training.shares import loss_of_all

__all__ = ["Dfcl"]

_VALIDATION_ROWS = 65_536  # at most, of each set: all networks value them at once


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Dfcl(AbstractNetworkMethod):
    """Decision-focused causal learning on randomised rows.

    ``loss = prediction_weight * factual loss + decision loss``, both in units of the
    revenue's scale, starting from networks trained on the factual loss alone: from scratch
    the decision loss finds no gradient worth following.

    Args:
        loss: the decision loss; ``dfcl-ppl`` is `PrimalPolicy`. For a doubly robust one, five
            networks per set are cross-fitted first.
        budgets: the budgets to decide well at; the decision loss is their mean.
        price: of money in the decision loss: found once per epoch on all of its ``"rows"``, or on
            each ``"batch"`` as published, which follows noise.
        prediction_weight: alpha of the papers, >= 0.
        decision_epochs: epochs of the second stage, >= 1; None: as many as of the first. Kept is
            the epoch with the smallest loss on validation rows, be it the start; the last one
            without such rows.
        network: architecture of each network.
        training: settings of training.

    Raises:
        InvalidValueError: if an option is out of range, or there is no budget.

    Source:
        Zhou et al. (2024), arXiv:2407.13664, algorithm 1; named DFCL-PPL in
        arXiv:2510.19517. Deviations: those of the decision loss; the whole warm start
        precedes the decision stage; all rows count alike in the factual loss, where equation 5
        has ``1 / (M N_t)`` (`full_surface_weight`), and it is squared for binary outcomes, too,
        where the paper takes cross-entropy; kept is the epoch of least loss, not of the best AUCC
        or EOM, on validation rows.
    """

    loss: AbstractDecisionLoss = field(default_factory=PrimalPolicy)
    budgets: tuple[Budget, ...] = BUDGETS
    price: PriceFrom = "rows"
    prediction_weight: float = 1.0
    decision_epochs: int | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        check_part("loss", self.loss, AbstractDecisionLoss, "PrimalPolicy() or LOSSES.make(name)")
        check_several("budgets", self.budgets, Budget)
        check_count("number of budgets", len(self.budgets), at_least=1)
        check_number("prediction_weight", self.prediction_weight, at_least=0)
        check_choice("price", self.price, ("rows", "batch"))
        if self.decision_epochs is not None:
            check_count("decision_epochs", self.decision_epochs, at_least=1)

    @property
    def uses(self) -> tuple[Part, ...]:
        """Randomised rows alone."""
        return ("rct",)

    def train(self, networks: Networks, monitor: Monitor) -> Parameters:
        """Train on predictions, then on predictions and decisions."""
        start = fit_factual("warm-start", networks, "rct", self.training, monitor)
        network = networks.stacked
        pool, unseen = networks.pool(lambda one: one.rows("rct")), networks.validation_pool
        if self.loss.needs_baseline:
            baseline = CrossFitted.of(networks, self.training, monitor)
            pool = baseline.on_rows(pool)
            unseen = None if unseen is None else baseline.on_unseen(unseen)
        held = None if unseen is None else networks.validation_batch(_VALIDATION_ROWS, unseen)
        level = DecisionLevel(networks, self.loss, self.budgets, pool, self.price)

        def weighed(
            decision: Callable[[Tensor, Batch], Tensor], parameters: Parameters, batch: Batch
        ) -> Tensor:
            def loss(outcomes: Tensor) -> Tensor:
                factual = factual_loss(outcomes, batch.treatment, batch.outcome)
                return self.prediction_weight * factual + decision(outcomes, batch)

            return loss_of_all(loss, lambda x: (network(parameters, x),), batch)

        @torch.no_grad()
        def criterion(parameters: Parameters) -> Tensor | None:
            return None if held is None else weighed(level.within, parameters, held)

        epochs = self.decision_epochs or self.training.epochs
        share = epochs / self.training.epochs
        training = replace(
            self.training,
            epochs=epochs,
            min_steps=max(round(self.training.min_steps * share), 1),
        )
        stage = Stage(
            name="decision",
            networks=networks,
            pool=pool,
            training=training,
            loss=partial(weighed, level),
            criterion=criterion,
            level=level,
            monitor=monitor,
        )
        return stage.run(start)
