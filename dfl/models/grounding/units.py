"""`units_of_logs`: logs that count the outcomes of a treatment otherwise than the experiment."""

import math

import torch
from torch import Tensor

from dfl.models.grounding.evidence import Evidence

__all__ = ["units_of_logs"]

_APART = math.log(2.5)  # confounding seldom makes outcomes of equal people differ so much
_ERRORS = 4.0  # standard errors by which a ratio must differ from 1, too
_LEAST = 10.0  # effective number of outcomes on either side, for that error to mean something


def units_of_logs(evidence: Evidence) -> Tensor:
    """Return how many times as large an outcome of the logs is as the experiment's, by treatment.

    ``u_j = (sum |y| / sum |f|)`` over the logs' rows of treatment j, by the same over those of the
    experiment, where ``f`` is what one model predicts of both: people may differ between the two,
    the unit may not. Where one side has fewer effective outcomes ``n = (sum |y|)^2 / sum y^2`` than
    10, that of all treatments together stands in. 1 where ``|log u|`` is at most log 2.5, or four
    standard errors ``(1 / n_logs + 1 / n_experiment)^(1/2)``.

    Args:
        evidence: outcomes beside their predictions.

    Returns:
        float64, shape ``(M,)``.

    Source:
        Our own.
    """
    logs, trial = _totals(evidence, evidence.logged), _totals(evidence, ~evidence.logged)
    times = (logs[0] / logs[1] / (trial[0] / trial[1])).log()
    effective = torch.stack([logs[0].square() / logs[2], trial[0].square() / trial[2]])
    known = (effective >= _LEAST).all(dim=0) & times.isfinite()
    sure = _ERRORS * effective.reciprocal().sum(dim=0).sqrt()
    found = torch.where(known & (times.abs() > sure.clamp(min=_APART)), times, 0).exp()
    return torch.where(known[:-1], found[:-1], found[-1])


def _totals(evidence: Evidence, rows: Tensor) -> Tensor:
    """Add up sizes of outcomes, of predictions, and squares, by treatment, then of all.

    Shape ``(3, M + 1)``.
    """
    outcome = evidence.outcome[rows].double().abs()
    each = torch.stack([outcome, evidence.own[rows].abs(), outcome.square()])
    none = each.new_zeros(3, evidence.predicted.shape[1])
    total = none.index_add_(1, evidence.treatment[rows], each)
    return torch.cat([total, total.sum(dim=1, keepdim=True)], dim=1)
