"""Estimators of what a soft policy would earn, from randomised logs."""

from typing import Any, Literal, TypeAlias, final

import torch
from torch import Tensor
from torch.autograd import Function

from dfl.checks import check_part, put_off
from dfl.errors import InvalidValueError, ShapeError
from dfl.kernels import by_triton
from dfl.layers.base import of_received
from dfl.layers.pricing.priced import scores
from dfl.losses.base import LoggedBatch
from dfl.problem.amounts import unmapped

__all__ = [
    "VALUE_ESTIMATORS",
    "Estimator",
    "PseudoOutcome",
    "check_every_treatment_seen",
    "matched_weight",
    "policy_value",
    "pseudo_scores",
    "received_value",
]

Estimator: TypeAlias = Literal["horvitz-thompson", "self-normalised", "doubly-robust"]
VALUE_ESTIMATORS: tuple[Estimator, ...] = ("horvitz-thompson", "self-normalised", "doubly-robust")
_UNSEEN = (
    "every treatment must occur in a batch with a weight above 0 and be one of revenue's columns, "
    "and logged numbers must be finite, costs and weights >= 0; look at the logs, take larger "
    "batches, or leave the treatment out."
)
PseudoOutcome: TypeAlias = Literal["doubly-robust", "horvitz-thompson"]


def policy_value(
    allocation: Tensor,  # (..., N, M)
    batch: LoggedBatch,
    multiplier: Tensor,  # (...)
    estimator: Estimator,
) -> Tensor:  # (...)
    """Estimate the mean of ``revenue - multiplier * cost`` per head under a soft policy.

    With ``y`` that outcome, ``w`` the inverse propensity, ``z`` the shares, ``t`` the treatment
    received and ``m_j`` the outcome that a model predicts for treatment j:

    - horvitz-thompson: ``mean_i w_i z_it y_i``, unbiased, noisy.
    - self-normalised: ``sum_i w_i z_it y_i / sum_i w_i z_it``, slightly biased, less noisy,
      unmoved by a constant added to every outcome.
    - doubly-robust: ``mean_i [sum_j z_ij m_ij + w_i z_it (y_i - m_it)]``, unbiased whatever the
      model, if that did not learn from these rows; as noisy as the model leaves the outcomes.

    Args:
        allocation: share of each treatment, rows on the simplex. Shape ``(..., N, M)``.
        batch: randomised rows; doubly-robust reads their baselines.
        multiplier: price of money, held constant; 0 values the revenue. Shape ``(...)``.
        estimator: which of the three.

    Returns:
        Value in currency per head. Shape ``(...)``.

    Raises:
        ShapeError: if the allocation or a baseline has other rows or treatments.
        InvalidValueError: if the batch is none; if doubly-robust finds no baselines; if
            self-normalised finds nobody who received what the policy chooses.

    Source:
        arXiv:2510.19517, ``L_DL`` (horvitz-thompson); the authors' code of arXiv:2407.13664
        (self-normalised); Dudik, Langford and Li (2011), arXiv:1103.4601 (doubly-robust).
    """
    _check_rows(batch, allocation.shape[:-1])
    multiplier = multiplier.detach()
    if estimator == "doubly-robust":
        return _doubly_robust(allocation, batch, multiplier)
    received = of_received(allocation, batch.treatment)
    outcome = batch.revenue - multiplier[..., None] * batch.cost
    return received_value(received, outcome, batch.weight, estimator)


def received_value(
    received: Tensor,  # (..., N)
    outcome: Tensor,  # (..., N)
    weight: Tensor,  # (..., N)
    estimator: Literal["horvitz-thompson", "self-normalised"],
) -> Tensor:  # (...)
    """Estimate a policy's value from its shares of the treatments received alone.

    Args:
        received: share of the treatment received. Shape ``(..., N)``.
        outcome: logged outcome, in currency. Shape ``(..., N)``.
        weight: inverse propensity of the treatment received. Shape ``(..., N)``.
        estimator: see `policy_value`.

    Returns:
        Value in currency per head. Shape ``(...)``.

    Raises:
        InvalidValueError: as in `policy_value`.
    """
    total: Tensor
    if by_triton(received.detach(), outcome, weight) and _alike(received, outcome, weight):
        total, matched = _WeightedSums.apply(received, outcome, weight)  # type: ignore[no-untyped-call]
        weighted = matched.unsqueeze(-1)
    else:
        weighted = weight * received
        total = (weighted * outcome).sum(dim=-1)
    if estimator == "self-normalised":
        return total / matched_weight(weighted)
    return total / outcome.shape[-1]


def check_every_treatment_seen(batch: LoggedBatch, treatments: int, expected: torch.Size) -> None:
    """Refuse logs by which not every treatment could be valued, and numbers that are none.

    Args:
        batch: logged rows ``(..., N)``.
        treatments: number of treatments M.
        expected: the shape that treatments should have.

    Raises:
        ShapeError: if the shape is another, or that of a baseline.
        InvalidValueError: if the batch is none, a treatment does not occur in a batch with a
            weight above 0 or is none of the M, an amount is not finite, or a weight or cost is
            negative.
    """
    _check_rows(batch, expected)
    treatment, weight, cost = batch.treatment, batch.weight, batch.cost
    _check_baselines(batch, torch.Size((*expected, treatments)))
    known = (treatment >= 0) & (treatment < treatments)
    most = torch.maximum(torch.maximum(weight, cost), batch.revenue.abs())
    sound = (torch.minimum(weight, cost) >= 0) & (most < torch.inf)
    total = weight.new_zeros(*treatment.shape[:-1], treatments)
    total = total.scatter_add(-1, treatment.clamp(0, treatments - 1), weight.expand_as(treatment))
    good = unmapped(known.all() & sound.all() & (total > 0).all()).all()
    if put_off(good, _UNSEEN) or bool(good):
        return
    treatment, weight, cost, known, total = map(unmapped, (treatment, weight, cost, known, total))
    if not bool(known.all()):
        raise InvalidValueError(
            f"batch.treatment must be 0 to {treatments - 1}, as revenue has {treatments} columns, "
            f"got {int(treatment[~known][0])}."
        )
    for must, column, least in (
        ("weight, the inverse propensity, must be finite and >= 0", weight, 0.0),
        ("cost must be finite and >= 0", cost, 0.0),
        ("revenue must be finite", unmapped(batch.revenue), torch.finfo(batch.revenue.dtype).min),
    ):
        inside = (column >= least) & (column < torch.inf)
        if not bool(inside.all()):
            raise InvalidValueError(f"batch.{must}, got {float(column[~inside][0]):g}.")
    missing = int((total <= 0).reshape(-1, treatments).any(dim=0).nonzero()[0])
    raise InvalidValueError(
        f"every treatment must occur in a batch with a weight above 0, got {treatment.shape[-1]} "
        f"rows without treatment {missing}; take larger batches, or leave the treatment out."
    )


def _check_rows(batch: LoggedBatch, expected: torch.Size) -> None:
    check_part("batch", batch, LoggedBatch, "LoggedBatch(treatment, revenue, cost, weight)")
    if batch.treatment.shape != expected:
        raise ShapeError(
            f"batch.treatment must be {tuple(expected)}, got {tuple(batch.treatment.shape)}."
        )


def _check_baselines(batch: LoggedBatch, expected: torch.Size) -> None:
    for name in ("baseline_revenue", "baseline_cost"):
        one: Tensor | None = getattr(batch, name)
        if one is not None and one.shape != expected:
            raise ShapeError(f"batch.{name} must be {tuple(expected)}, got {tuple(one.shape)}.")


def _doubly_robust(allocation: Tensor, batch: LoggedBatch, multiplier: Tensor) -> Tensor:
    revenue, cost = batch.baseline_revenue, batch.baseline_cost
    if revenue is None or cost is None:
        raise InvalidValueError(
            "estimator 'doubly-robust' needs batch.baseline_revenue and batch.baseline_cost, "
            "outcomes predicted by a model that did not learn from these rows, got none; the "
            "methods make them by cross-fitting, in your own loop pass them to LoggedBatch."
        )
    _check_baselines(batch, allocation.shape)
    values = pseudo_scores(scores(revenue, cost, multiplier), batch, multiplier, "doubly-robust")
    # Shares add up to 1, so the policy's own value may be taken off each row's slopes: layers
    # whose gradient stands in for a derivative then see what a change of treatment gains.
    own = (allocation.detach() * values).sum(dim=-1, keepdim=True)
    gains = (allocation * (values - own)).sum(dim=-1)
    return (gains + own.squeeze(-1)).mean(dim=-1)


def pseudo_scores(
    predicted: Tensor,  # (..., N, M)
    batch: LoggedBatch,
    multiplier: Tensor,  # (...)
    kind: PseudoOutcome,
) -> Tensor:  # (..., N, M)
    """Return ``revenue - multiplier * cost`` of every treatment, by inverse propensity weights.

    With ``y_i`` that score of the logged outcome and ``w_i`` the inverse propensity:
    horvitz-thompson ``s_ij = 1[t_i = j] w_i y_i``; doubly-robust ``s_ij = m_ij + 1[t_i = j] w_i
    (y_i - m_ij)`` with ``m`` the scores of the batch's baseline or, without one, the predictions.
    On randomised rows both have the true score as their mean, given the features and an ``m``
    that did not see these outcomes.

    Args:
        predicted: predicted scores, in currency, without a graph. Shape ``(..., N, M)``.
        batch: logged outcomes ``(..., N)``.
        multiplier: price of money. Shape ``(...)``.
        kind: which of the two.

    Source:
        Robins, Rotnitzky and Zhao (1994), doi:10.1080/01621459.1994.10476818.
    """
    observed = batch.revenue - multiplier[..., None] * batch.cost
    base = torch.zeros_like(predicted) if kind == "horvitz-thompson" else predicted
    if kind == "doubly-robust" and not (
        batch.baseline_revenue is None or batch.baseline_cost is None
    ):
        base = scores(batch.baseline_revenue, batch.baseline_cost, multiplier).to(predicted)
    received = batch.treatment.unsqueeze(-1)
    missing = batch.weight * (observed - of_received(base, batch.treatment))
    return base.scatter_add(-1, received, missing.unsqueeze(-1).to(base.dtype))


def matched_weight(weighted: Tensor) -> Tensor:  # (..., N) -> (...)
    """Return the sum over people, and refuse a policy that nobody was seen to follow.

    Args:
        weighted: weight times share of the treatment received, >= 0. Shape ``(..., N)``.

    Returns:
        Sum > 0, with derivatives of all orders. Shape ``(...)``.

    Raises:
        InvalidValueError: if a sum is 0.
    """
    found: Tensor = _Sum.apply(weighted)  # type: ignore[no-untyped-call]
    return found


def _alike(*columns: Tensor) -> bool:
    return len({(column.shape, column.dtype) for column in columns}) == 1


@final
class _WeightedSums(Function):
    """Both sums of a policy's value in one kernel, and their gradient in another."""

    @staticmethod
    def forward(received: Tensor, outcome: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        from dfl.kernels.received_share import weighted_sums

        return weighted_sums(received, outcome, weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs[1:])
        ctx.save_for_forward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, of_value: Tensor, of_weight: Tensor) -> tuple[Tensor, None, None]:
        outcome, weight = ctx.saved_tensors
        if by_triton(of_value, of_weight, outcome, weight):
            from dfl.kernels.received_share import weighted_sums_slope

            return weighted_sums_slope(of_value, of_weight, outcome, weight), None, None
        return weight * (of_value.unsqueeze(-1) * outcome + of_weight.unsqueeze(-1)), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None, __: None) -> tuple[Tensor, Tensor]:
        outcome, weight = ctx.saved_tensors
        weighted = weight * tangent
        return (weighted * outcome).sum(dim=-1), weighted.sum(dim=-1)


@final
class _Sum(Function):
    """A function, so that the check sees plain numbers under `torch.func.vmap` too."""

    @staticmethod
    def forward(weighted: Tensor) -> Tensor:
        total = weighted.sum(dim=-1)
        text = (
            "some logged person must have received the treatment that the policy chooses, got none "
            f"in {weighted.shape[-1]} rows; take larger batches, a softer layer, or the estimator "
            "horvitz-thompson."
        )
        good = ~(total <= 0).any()  # NaN came from NaN, and is handed on
        if not put_off(good, text) and not bool(good):
            raise InvalidValueError(text)
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.rows = inputs[0].shape[-1]

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return slope.unsqueeze(-1).expand(*slope.shape, ctx.rows)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return tangent.sum(dim=-1)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], weighted: Tensor) -> tuple[Tensor, int]:
        return _Sum.apply(weighted.movedim(in_dims[0], 0)), 0  # type: ignore[no-untyped-call]
