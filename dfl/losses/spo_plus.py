"""`SpoPlus` and `spo_plus`: a convex bound of the regret that predicted values cause."""

from dataclasses import dataclass
from typing import final, get_args

from torch import Tensor

from dfl.checks import check_choice
from dfl.errors import ShapeError
from dfl.layers.perturbed.argmax import Argmax, check_values, hard_decision, one_hot_argmax
from dfl.losses.base import LoggedBatch
from dfl.losses.estimators.policy_value import PseudoOutcome, pseudo_scores
from dfl.losses.estimators.priced import AbstractPricedLoss
from dfl.problem.amounts import check_finite

__all__ = ["SpoPlus", "regret", "spo_plus"]


def spo_plus(
    values: Tensor,  # (..., D)
    truth: Tensor,  # (..., D)
    argmax: Argmax,
    *,
    decision: Tensor | None = None,  # (..., D)
) -> Tensor:  # (...)
    """Compute the SPO+ loss of predicted values against true ones.

    ``max_y (2 value - truth) @ y - 2 value @ y* + truth @ y*`` with ``y* = argmax(truth)``. It is
    convex in ``value``, zero where ``value = truth``, and at least the `regret`. Subgradient:
    ``2 (argmax(2 value - truth) - y*)``. One call of the argmax, and one more for ``y*``.

    Args:
        values: predicted value of each entry. Shape ``(..., D)``.
        truth: true value of each entry, in the same unit; no gradient goes there. Same shape.
        argmax: maximises ``value @ decision`` row by row; see `Argmax`.
        decision: ``argmax(truth)`` where it is known already. Same shape.

    Returns:
        Loss of each instance, in units of value. Shape ``(...)``.

    Raises:
        ShapeError: if shapes do not fit.
        DTypeError: if values or truth are no tensors or not floating point, or the argmax
            returns no tensor.
        InvalidValueError: if values are NaN, or the truth or a known decision is not finite.

    Source:
        Elmachtoub and Grigas (2022), doi:10.1287/mnsc.2020.3922, definition 3 and proposition
        3; sign flipped, we maximise.
    """
    _check_alike(values, truth)
    truth = truth.detach()
    best = hard_decision(argmax, truth) if decision is None else decision.detach()
    _check_alike(values, best, "decision")
    tilted = 2 * values - truth
    found = hard_decision(argmax, tilted)
    return (tilted * (found - best)).sum(dim=-1)


def regret(values: Tensor, truth: Tensor, argmax: Argmax) -> Tensor:  # (..., D) twice -> (...)
    """Compute what is lost by deciding on predicted values, ``truth @ (y* - argmax(value))``.

    Args:
        values: predicted value of each entry. Shape ``(..., D)``.
        truth: true value of each entry. Same shape.
        argmax: maximises ``value @ decision`` row by row; see `Argmax`.

    Returns:
        Regret of each instance, >= 0, in units of value, without a gradient. Shape ``(...)``.

    Raises:
        ShapeError: if shapes do not fit.
        DTypeError: if values or truth are no tensors or not floating point, or the argmax
            returns no tensor.
        InvalidValueError: if values are NaN, or the truth is not finite.
    """
    _check_alike(values, truth)
    truth = truth.detach()
    missed = hard_decision(argmax, truth) - hard_decision(argmax, values)
    return (truth * missed).sum(dim=-1)


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class SpoPlus(AbstractPricedLoss):
    """SPO+ against pseudo-outcomes, on the Lagrangian of the budget.

    The loss needs every treatment's true score, and logs show one outcome per person. In its
    place stands a pseudo-outcome which is right on average, see `pseudo_scores`. With
    ``s_hat = revenue - multiplier * cost`` and pseudo-scores ``s``: ``mean_i [max_j (2 s_hat -
    s)_ij - 2 s_hat_ib + s_ib]``, ``b = argmax_j s_ij``. The multiplier is held constant; with
    none given, it is the one that meets the budget on the logs.

    The loss is not linear in the pseudo-outcomes, so being right on average does not make it
    so: its minimiser is the true score if, given the features, the noise of the pseudo-outcomes
    is symmetric around zero. ``"doubly-robust"`` comes near that where residuals are symmetric,
    and its noise is smaller; ``"horvitz-thompson"`` is far from it and prefers treatments that
    few people received. Where outcomes are rare or skewed, prefer `PrimalPolicy`, whose
    estimate is unbiased.

    Args:
        pseudo_outcome: ``"doubly-robust"``: the batch's baseline or, without one, the prediction
            itself, held constant, corrected by its weighted residual at the treatment received.
            ``"horvitz-thompson"``: the weighted outcome at the treatment received, 0 elsewhere.
        price: of money, fixed or met by the decision.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Elmachtoub and Grigas (2022), doi:10.1287/mnsc.2020.3922, definition 3 and theorem 1.
        Deviations: pseudo-outcomes; the budget enters by its price.
    """

    pseudo_outcome: PseudoOutcome = "doubly-robust"

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        check_choice("pseudo_outcome", self.pseudo_outcome, get_args(PseudoOutcome))

    def of_scores(self, predicted: Tensor, multiplier: Tensor, batch: LoggedBatch) -> Tensor:
        """Return a bound of the regret per leading axis, in currency per head."""
        truth = pseudo_scores(predicted.detach(), batch, multiplier, self.pseudo_outcome)
        return spo_plus(predicted, truth, one_hot_argmax).mean(dim=-1)


def _check_alike(values: Tensor, other: Tensor, name: str = "truth") -> None:
    check_values(values)
    check_values(other, name)
    if other.shape != values.shape:
        raise ShapeError(
            f"truth and decision must have the shape of values, {tuple(values.shape)}, got "
            f"{tuple(other.shape)}."
        )
    check_finite(name, other)
