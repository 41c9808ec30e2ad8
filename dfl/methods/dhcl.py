"""`Dhcl`: learns directly what decisions are compared by, the return on each unit of cost."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import final

import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.checks import check_number, check_part
from dfl.layers.base import BudgetLike
from dfl.losses.base import AbstractDecisionLoss, LoggedBatch
from dfl.losses.prediction import at_treatment
from dfl.losses.roi import Roi
from dfl.methods.base import AbstractNetworkMethod
from dfl.models import Parameters
from dfl.models.standardisation import Scaling
from dfl.scale import over_rows
from dfl.solvers.base import AbstractSolver
from dfl.training.decision_level import DecisionLevel, per_head
from dfl.training.loop import Stage
from dfl.training.monitor import Monitor
from dfl.training.networks import Networks
from dfl.training.rows import Batch
from dfl.training.settings import Part, TrainingSet
from dfl.training.shares import loss_of_all

__all__ = ["Dhcl"]

_VALIDATION_ROWS = 65_536  # at most, of each set: all networks value them at once
_ANY_BUDGET = Budget(share=0.5)  # the decision factors serve every budget


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Dhcl(AbstractNetworkMethod):
    """Minimises ``loss(revenue, cost) + cost_weight * factual error of cost``, from fresh weights.

    The loss settles the ratios of revenue to cost, treatment by treatment, and moves predicted
    revenue alone; what no ratio says is predicted: cost, and the revenue of the cheapest
    treatment, by their squared errors at the treatment received.

    The loss is told treatments by rising mean cost on the randomised rows, whatever their numbers,
    and revenue in a unit of the same rows in which treatments differ by as much as in cost: what
    is learned does not hang on the currency of either.

    Args:
        loss: `Roi`, DRP, each treatment against the cheapest; `MarginalUtility`, DPM, step by step.
        cost_weight: weight of the squared errors, > 0.
        network: architecture of each network.
        training: settings of training. Kept is the epoch of least loss on validation rows.

    Raises:
        InvalidValueError: if ``cost_weight`` is not positive.

    Source:
        Zhou et al. (2023), arXiv:2211.15728, DRP and DPM, read from code that is probably its
        supplement. Deviations: those of the losses; the
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
        ladder = _Ladder.of(self.loss, networks.sets, networks.scalings, networks.plan.dataset)
        decision = DecisionLevel(networks, ladder, (_ANY_BUDGET,), pool, "batch")
        cheapest = ladder.order[:, 0]

        def loss(parameters: Parameters, batch: Batch) -> Tensor:
            def mixed(outcomes: Tensor) -> Tensor:
                ratio = decision(_revenue_above(cheapest, outcomes), batch)
                return ratio + self.cost_weight * _level_error(cheapest, outcomes, batch)

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


@final
@dataclass(frozen=True, eq=False)
class _Ladder(AbstractDecisionLoss):
    """A loss that is told treatments by rising cost, and revenue in the size that costs have.

    The losses of ratios need both: they compare a treatment with the first or the one before, and
    add revenue and cost up. What others say at any unit they say here.

    Args:
        loss: what is asked.
        order: treatments of each network by rising mean cost. Shape ``(K, M)``.
        unit: revenue that counts as one of cost. Shape ``(K,)``.
    """

    loss: AbstractDecisionLoss
    order: Tensor
    unit: Tensor

    @staticmethod
    def of(
        loss: AbstractDecisionLoss,
        sets: Sequence[TrainingSet],
        scalings: Sequence[Scaling],
        dataset: Sequence[int],
    ) -> "_Ladder":
        """Take order and unit from each set's randomised rows.

        The unit is the spread of the treatments' mean revenues, with what chance may add to it,
        over that of their mean costs.

        Args:
            loss: what is asked.
            sets: training sets.
            scalings: of each.
            dataset: the set of each network.
        """
        orders, units = [], []
        for one, scaling in zip(sets, scalings, strict=True):
            assert one.rct is not None  # `uses` names them
            revenue, cost = (per_head(one.rct, y) for y in (one.rct.revenue, one.rct.cost))
            chance = over_rows(one.rct.arm_counts).double().reciprocal().mean()
            chance = chance.to(revenue) * scaling.revenue_scale.double().square()
            spread = cost.std(correction=0)
            spread = torch.where(spread > 0, spread, scaling.cost_scale.double())
            orders.append(cost.argsort(stable=True))
            units.append((revenue.var(correction=0) + chance).sqrt() / spread)
        which = list(dataset)
        return _Ladder(loss, torch.stack(orders)[which], torch.stack(units)[which])

    @property
    def needs_baseline(self) -> bool:
        """As the loss."""
        return self.loss.needs_baseline

    @property
    def uses_budget(self) -> bool:
        """As the loss."""
        return self.loss.uses_budget

    @property
    def decides_at_price(self) -> bool:
        """As the loss."""
        return self.loss.decides_at_price

    @property
    def price_solver(self) -> AbstractSolver | None:
        """As the loss."""
        return self.loss.price_solver

    def __call__(
        self, revenue: Tensor, cost: Tensor, batch: LoggedBatch, budget: BudgetLike
    ) -> Tensor:
        """Return the loss in currency per head; see the interface."""
        unit, order = self.unit.to(revenue), self.order[:, None].expand_as(revenue)
        place = self.order.argsort(dim=-1).gather(-1, batch.treatment)
        told = replace(batch, treatment=place, revenue=batch.revenue / unit[:, None])
        sorted_revenue, sorted_cost = (one.gather(-1, order) for one in (revenue, cost))
        found = self.loss(sorted_revenue / unit[:, None, None], sorted_cost, told, budget)
        return found * unit


def _level_error(cheapest: Tensor, outcomes: Tensor, batch: Batch) -> Tensor:
    """Return the squared error of cost, and of revenue under the cheapest treatment, ``(K,)``."""
    error = (batch.outcome - at_treatment(outcomes, batch.treatment)).square()
    untreated = (batch.treatment == cheapest[:, None]).to(error.dtype)
    return (error[..., 1] + untreated * error[..., 0]).mean(dim=-1)


def _revenue_above(cheapest: Tensor, outcomes: Tensor) -> Tensor:
    """Return the same outcomes; only revenue of the dearer treatments passes a gradient."""
    fixed = outcomes.detach()
    arm = torch.arange(outcomes.shape[-1], device=cheapest.device)
    held = (arm == cheapest[:, None])[:, None]  # (K, 1, M)
    revenue = torch.where(held, fixed[..., 0, :], outcomes[..., 0, :])
    return torch.stack((revenue, fixed[..., 1, :]), dim=-2)
