"""`Dhcl`: learns directly what decisions are compared by, the return on each unit of cost."""

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.checks import check_number, check_part
from dfl.losses.base import AbstractDecisionLoss
from dfl.losses.prediction import at_treatment
from dfl.losses.roi import Roi
from dfl.methods.base import AbstractNetworkMethod
from dfl.models import Parameters
from dfl.training.decision_level import DecisionLevel
from dfl.training.loop import Stage
from dfl.training.monitor import Monitor
from dfl.training.networks import Networks
from dfl.training.rows import Batch
from dfl.training.settings import Part
from dfl.training.shares import loss_of_all

__all__ = ["Dhcl"]

_VALIDATION_ROWS = 65_536  # at most, of each set: all networks value them at once
_ANY_BUDGET = Budget(share=0.5)  # the decision factors serve every budget


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Dhcl(AbstractNetworkMethod):
    """Minimises ``loss(revenue, cost) + cost_weight * factual error of cost``, from fresh weights.

    The loss settles the ratios of revenue to cost, treatment by treatment, and moves predicted
    revenue alone; what no ratio says is predicted: cost, and the revenue of treatment 0, by
    their squared errors at the treatment received.

    Args:
        loss: `Roi`, DRP, each treatment against none; `MarginalUtility`, DPM, step by step.
        cost_weight: weight of the squared errors, > 0.
        network: architecture of each network.
        training: settings of training. Kept is the epoch of least loss on validation rows.

    Raises:
        InvalidValueError: if ``cost_weight`` is not positive.

    Source:
        Zhou et al. (2023), arXiv:2211.15728, DRP and DPM. Deviations: those of the losses; the
        paper's network says the ratio alone, ours revenue and cost, so that every budget in
        money can be met.
    """

    loss: AbstractDecisionLoss = field(default_factory=Roi)
    cost_weight: float = 1.0

    def __post_init__(self) -> None:
        """Check the weight."""
        super().__post_init__()
        check_part("loss", self.loss, AbstractDecisionLoss, "Roi() or LOSSES.make(name)")
        check_number("cost_weight", self.cost_weight, above=0)

    @property
    def uses(self) -> tuple[Part, ...]:
        """Randomised rows alone."""
        return ("rct",)

    def train(self, networks: Networks, monitor: Monitor) -> Parameters:
        """Learn ratios and costs together."""
        network = networks.stacked
        pool = networks.pool(lambda one: one.rows("rct"))
        decision = DecisionLevel(networks, self.loss, (_ANY_BUDGET,), pool, "batch")

        def loss(parameters: Parameters, batch: Batch) -> Tensor:
            def mixed(outcomes: Tensor) -> Tensor:
                ratio = decision(_revenue_above_none(outcomes), batch)
                return ratio + self.cost_weight * _level_error(outcomes, batch)

            return loss_of_all(mixed, lambda x: (network(parameters, x),), batch)

        unseen = networks.validation_pool
        held = None if unseen is None else networks.validation_batch(_VALIDATION_ROWS, unseen)

        @torch.no_grad()
        def criterion(parameters: Parameters) -> Tensor | None:
            return None if held is None else loss(parameters, held)

        stage = Stage(
            name="target",
            networks=networks,
            pool=pool,
            training=self.training,
            loss=loss,
            criterion=criterion,
            monitor=monitor,
        )
        return stage.run(networks.initial(network, "target"))


def _level_error(outcomes: Tensor, batch: Batch) -> Tensor:
    """Return the squared error of cost, and of revenue where treatment 0 was received, ``(K,)``."""
    error = (batch.outcome - at_treatment(outcomes, batch.treatment)).square()
    untreated = (batch.treatment == 0).to(error.dtype)
    return (error[..., 1] + untreated * error[..., 0]).mean(dim=-1)


def _revenue_above_none(outcomes: Tensor) -> Tensor:
    """Return the same outcomes; only revenue of treatments above 0 passes a gradient."""
    fixed = outcomes.detach()
    revenue = torch.cat((fixed[..., 0, :1], outcomes[..., 0, 1:]), dim=-1)
    return torch.stack((revenue, fixed[..., 1, :]), dim=-2)
