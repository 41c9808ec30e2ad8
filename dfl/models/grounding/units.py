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
    m = evidence.predicted.shape[1]
    outcome = evidence.outcome.double().abs()
    each = torch.stack([outcome, evidence.own.abs(), outcome.square()])
    place = evidence.treatment + m * evidence.logged  # the experiment's treatments, the logs'
    total = each.new_zeros(3, 2 * m).index_add_(1, place, each).view(3, 2, m)
    total = torch.cat([total, total.sum(dim=2, keepdim=True)], dim=2)  # and all of them
    size, expected, square = total
    trial, logs = size / expected
    times, effective = (logs / trial).log(), size.square() / square
    known = (effective >= _LEAST).all(dim=0) & times.isfinite()
    sure = _ERRORS * effective.reciprocal().sum(dim=0).sqrt()
    found = torch.where(known & (times.abs() > sure.clamp(min=_APART)), times, 0).exp()
    return torch.where(known[:-1], found[:-1], found[-1])
