"""`LagrangianDecomposition`: SPO+ on the subproblems that given prices of money leave."""

from dataclasses import dataclass
from typing import final, get_args

from torch import Tensor

from dfl.checks import check_choice
from dfl.layers.base import BudgetLike
from dfl.layers.pricing.priced import scores
from dfl.layers.pricing.problems import ready
from dfl.losses.base import AbstractDecisionLoss, LoggedBatch
from dfl.losses.dual_policy import along_prices, check_multipliers
from dfl.losses.estimators.policy_value import PseudoOutcome, check_every_treatment_seen
from dfl.losses.spo_plus import SpoPlus

__all__ = ["LagrangianDecomposition"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class LagrangianDecomposition(AbstractDecisionLoss):
    """The mean over given prices of SPO+ on each person's own choice.

    Copies of the allocation, one that knows persons alone and one that knows the budget alone, are
    held together by multipliers. With one budget the best multipliers are ``price * cost``, so the
    bound that replaces the objective is ``price * budget + sum_i max_j (revenue_ij - price *
    cost_ij)``: a problem for each person, solved by a comparison, and a constant. At each price
    `SpoPlus` judges these choices against pseudo-outcomes. Nothing is solved in training; small
    prices stand for rich budgets, large ones for tight, and the budget of the call is not used.

    Args:
        multipliers: prices of money, revenue per unit of cost, each >= 0.
        pseudo_outcome: as in `SpoPlus`.

    Raises:
        InvalidValueError: if there is no multiplier or one is negative, or the word is unknown.

    Source:
        Eilles-Chan Way, Percot, Cappart, Guns and Rousseau (2026), arXiv:2606.08797, of which we
        have read the abstract: a surrogate objective by Lagrangian decomposition, beside SPO+ or
        implicit MLE. That one budget leaves one price is a fact; which prices, and SPO+ against
        pseudo-outcomes, are our reading. With implicit MLE: `DualPolicy` on the layer
        `ImplicitMle`.
    """

    multipliers: tuple[float, ...] = (0.1, 0.5, 1.0)
    pseudo_outcome: PseudoOutcome = "doubly-robust"

    def __post_init__(self) -> None:
        """Check the options."""
        check_multipliers(self.multipliers)
        check_choice("pseudo_outcome", self.pseudo_outcome, get_args(PseudoOutcome))

    @property
    def uses_budget(self) -> bool:
        """False: prices are given."""
        return False

    def __call__(
        self, revenue: Tensor, cost: Tensor, batch: LoggedBatch, budget: BudgetLike
    ) -> Tensor:
        """Return the loss per leading axis, in currency per head; see the interface."""
        revenue, cost = ready(revenue, cost)
        check_every_treatment_seen(batch, revenue.shape[-1], revenue.shape[:-1])
        prices = along_prices(self.multipliers, revenue)
        at_each = SpoPlus(pseudo_outcome=self.pseudo_outcome).of_scores
        losses = at_each(scores(revenue, cost, prices), prices, batch.repeated(len(prices)))
        return losses.mean(dim=0)
