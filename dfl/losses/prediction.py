"""Prediction losses: how far predicted outcomes are from logged ones or from a teacher's."""

from typing import Literal, get_args

from torch import Tensor
from torch.nn.functional import mse_loss

from dfl.checks import check_choice, put_off
from dfl.errors import InvalidValueError, ShapeError
from dfl.problem.amounts import unmapped

__all__ = [
    "PseudoLabelGradient",
    "at_treatment",
    "doubly_robust_loss",
    "factual_loss",
    "full_surface_weight",
    "pseudo_label_loss",
]

PseudoLabelGradient = Literal["stopped", "flowing"]


def factual_loss(
    prediction: Tensor,  # (..., N, 2, M)
    treatment: Tensor,  # (..., N)
    outcome: Tensor,  # (..., N, 2)
    weight: Tensor | None = None,  # (..., N)
) -> Tensor:  # (...)
    """Compute the squared error of both outcomes at the treatment received.

    ``mean_i weight_i [(r_i - r_hat_{i,t_i})^2 + (c_i - c_hat_{i,t_i})^2]``.

    Args:
        prediction: predicted outcomes. Shape ``(..., N, 2, M)``.
        treatment: treatment received. Shape ``(..., N)``.
        outcome: observed outcomes, in units of ``prediction``. Shape ``(..., N, 2)``.
        weight: weight of each row, or None for 1. Shape ``(..., N)``.

    Returns:
        One loss per leading axis. Shape ``(...)``.

    Raises:
        ShapeError: if shapes do not fit.

    Source:
        arXiv:2510.19517, ``L_PL`` without its counterfactual terms; with
        `full_surface_weight`, arXiv:2407.13664, equation 5 divided by N / M.
    """
    _check_shapes(prediction, treatment, outcome, weight=weight)
    error = (outcome - at_treatment(prediction, treatment)).square().sum(dim=-1)
    return (error if weight is None else weight * error).mean(dim=-1)


def full_surface_weight(arm_counts: Tensor) -> Tensor:
    """Return the weight per arm that makes `factual_loss` estimate the error over all arms.

    ``N / (M N_t)``: on randomised rows, ``E[weight * factual error]`` is the squared error
    averaged over all people and all treatments.

    Args:
        arm_counts: rows per treatment. Shape ``(..., M)``.

    Source:
        arXiv:2407.13664, equation 5 and theorem 1.
    """
    return arm_counts.sum(dim=-1, keepdim=True) / (arm_counts.shape[-1] * arm_counts)


def pseudo_label_loss(
    prediction: Tensor,  # (..., N, 2, M)
    treatment: Tensor,  # (..., N)
    outcome: Tensor,  # (..., N, 2)
    teacher: Tensor,  # (..., N, 2, M)
    gate: Tensor | float,  # (..., N, 2, M)
    gradient: PseudoLabelGradient = "stopped",
) -> Tensor:  # (...)
    """Compute the factual loss plus a gated pull towards a teacher where nothing was seen.

    ``mean_i [ factual error_i + sum_{j != t_i} (y_cf_ij - y_hat_ij)^2 ]`` over both outcomes,
    with pseudo-labels ``y_cf = w y_teacher + (1 - w) y_hat``.

    Args:
        prediction: predicted outcomes. Shape ``(..., N, 2, M)``.
        treatment: treatment received. Shape ``(..., N)``.
        outcome: observed outcomes, in units of ``prediction``. Shape ``(..., N, 2)``.
        teacher: the teacher's predictions. Shape ``(..., N, 2, M)``.
        gate: trust ``w`` in the teacher, in [0, 1]. Shape ``(..., N, 2, M)`` or a number.
        gradient: ``"flowing"``: the derivative passes through the ``y_hat`` inside
            ``y_cf``, so the term is ``w^2 (y_teacher - y_hat)^2``. ``"stopped"``: that
            ``y_hat`` is a constant, so the gradient is ``w`` times plain distillation's; it
            is computed as ``w (y_teacher - y_hat)^2``, whose Hessian belongs to that field.

    Returns:
        One loss per leading axis. Shape ``(...)``.

    Raises:
        ShapeError: if shapes do not fit.
        InvalidValueError: if the gradient is none of its words, or a treatment none of the M.

    Source:
        arXiv:2510.19517, ``L_PL``; the paper does not say which gradient it takes.
    """
    check_choice("gradient", gradient, get_args(PseudoLabelGradient))
    _check_shapes(prediction, treatment, outcome, teacher=teacher)
    _check_known(treatment, prediction.shape[-1])
    pull = gate if gradient == "stopped" else gate * gate
    if not isinstance(pull, Tensor):
        pull = prediction.new_full((), pull)
    outcomes = pull.shape[-2] if pull.dim() > 1 else 1
    pull = pull.expand(*treatment.shape, outcomes, prediction.shape[-1])
    # What was seen is written over the rest, which takes half the time of a choice by a mask.
    seen = treatment[..., None, None]
    pull = pull.scatter(-1, seen.expand(*pull.shape[:-1], 1), 1)
    label = teacher.scatter(-1, seen.expand(*teacher.shape[:-1], 1), outcome.unsqueeze(-1))
    error = mse_loss(prediction, label, reduction="none")
    return (pull * error).sum(dim=(-2, -1)).mean(dim=-1)


def doubly_robust_loss(
    prediction: Tensor,  # (..., N, 2, M)
    imputed: Tensor,  # (..., N, 2, M)
    treatment: Tensor,  # (..., N)
    outcome: Tensor,  # (..., N, 2)
    weight: Tensor,  # (..., N)
) -> Tensor:  # (...)
    """Compute the error over all treatments, imputed everywhere and put right where observed.

    ``mean_i [sum_j (m_ij - f_ij)^2 / M + w_i ((y_i - f_{i,t_i})^2 - (m_{i,t_i} - f_{i,t_i})^2)]``,
    added over both outcomes. On average it is the error over all people and treatments if
    either the imputed outcomes are right or the weights are ``1 / (M e(t_i | x_i))``.

    Args:
        prediction: predicted outcomes ``f``. Shape ``(..., N, 2, M)``.
        imputed: imputed outcomes ``m``, in the same units. Same shape.
        treatment: treatment received. Shape ``(..., N)``.
        outcome: observed outcomes, in the same units. Shape ``(..., N, 2)``.
        weight: weight of each row. Shape ``(..., N)``.

    Raises:
        ShapeError: if shapes do not fit.

    Source:
        Wang, Zhang, Sun and Qi (2019), ICML, the DR estimator.
    """
    _check_shapes(prediction, treatment, outcome, weight=weight, imputed=imputed)
    error = (imputed - prediction).square()
    own = at_treatment(error, treatment).sum(dim=-1)
    everywhere = error.sum(dim=-2).mean(dim=-1)
    seen = factual_loss(prediction, treatment, outcome, weight)
    return (everywhere - weight * own).mean(dim=-1) + seen


def at_treatment(prediction: Tensor, treatment: Tensor) -> Tensor:
    """Pick ``prediction[..., t]``: (..., N, 2, M) and (..., N) give (..., N, 2)."""
    index = treatment[..., None, None].expand(*prediction.shape[:-1], 1)
    return prediction.gather(-1, index).squeeze(-1)


def _check_shapes(
    prediction: Tensor, treatment: Tensor, outcome: Tensor, **others: Tensor | None
) -> None:
    """Refuse what would be broadcast; the others are a weight of rows, or like predictions."""
    rows, whole = prediction.shape[:-2], prediction.shape
    for name, given in {"treatment": treatment, "outcome": outcome, **others}.items():
        wanted = {"treatment": rows, "weight": rows, "outcome": whole[:-1]}.get(name, whole)
        if given is not None and given.shape != wanted:
            raise ShapeError(
                f"{name} must be {tuple(wanted)}, as prediction is {tuple(whole)}, got "
                f"{tuple(given.shape)}."
            )


def _check_known(treatment: Tensor, treatments: int) -> None:
    text = f"treatment must be 0 to {treatments - 1}, as prediction has {treatments} columns."
    treatment = unmapped(treatment)
    known = ((treatment >= 0) & (treatment < treatments)).all()
    if not put_off(known, text) and not bool(known):
        raise InvalidValueError(text)
