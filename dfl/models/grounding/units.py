"""`unit_of_logs`: logs that are kept in another unit than the experiment."""

from torch import Tensor

from dfl.models.grounding.evidence import Evidence

__all__ = ["unit_of_logs"]

_APART = 5.0  # times; confounding seldom makes outcomes of equal people differ so much
_LEAST = 25.0  # effective number of outcomes on either side, for a ratio within some 20 %


def unit_of_logs(evidence: Evidence) -> float:
    """Return how many times as large an outcome of the logs is as that of the experiment.

    ``(sum |y| / sum |f|)`` over rows of the logs, by the same over rows of the experiment, where
    ``f`` is what one model predicts of both: people and treatments may differ between the two,
    the unit may not. 1 where it is less than five times, either way, or where the outcomes other
    than 0 are too few to tell: ``(sum |y|)^2 / sum y^2`` below 25 on one side.

    Args:
        evidence: outcomes beside their predictions.

    Source:
        Our own.
    """
    if not bool(evidence.logged.any()):
        return 1.0
    outcome, expected = evidence.outcome.double().abs(), evidence.own.abs()
    ratios = []
    for rows in (evidence.logged, ~evidence.logged):
        total, size = outcome[rows].sum(), expected[rows].sum()
        if not (_enough(outcome[rows], total) and bool(size > 0)):
            return 1.0
        ratios.append(float(total / size))
    times = ratios[0] / ratios[1]
    return times if max(times, 1 / times) > _APART else 1.0


def _enough(sizes: Tensor, total: Tensor) -> bool:
    return bool(total.square() > _LEAST * sizes.square().sum())
