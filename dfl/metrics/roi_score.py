"""Who to treat first: predicted revenue uplift per predicted cost uplift."""

import torch
from torch import Tensor

from dfl.checks import check_number, check_tensor
from dfl.errors import InvalidValueError, ShapeError
from dfl.metrics.rows.randomised_rows import check_predictions

__all__ = ["roi_score"]


def roi_score(revenue: Tensor, cost: Tensor, *, floor: float = 1e-4) -> Tensor:
    """Score people by return on money, ``revenue uplift / max(cost uplift, smallest)``.

    ``smallest = floor * mean |cost uplift|``. Where a treatment is predicted to cost next to
    nothing, or to save money, the denominator is ``smallest``: a person who also brings
    revenue comes first, one who loses revenue comes last, and within both the revenue uplift
    decides. The score does not depend on the currency.

    Args:
        revenue: predicted revenue without and with treatment, in currency. Shape ``(N, 2)``.
        cost: predicted cost without and with treatment, in currency. Shape ``(N, 2)``.
        floor: smallest cost uplift told from 0, as part of the mean, > 0, no unit.

    Returns:
        Score, float64, no unit; higher is treated earlier. Shape ``(N,)``.

    Raises:
        DTypeError: if they are no tensors of real numbers.
        ShapeError: if the two are not ``(N, 2)``.
        InvalidValueError: if ``floor`` is not > 0, an amount is not finite, or every cost uplift
            is 0.

    Source:
        The two-stage score of Zhou et al. (2023), arXiv:2211.15728, whose code replaces
        denominators below 1e-6 by 1e-6. Deviation: a floor relative to the mean, and for
        negative denominators too (theirs ranks money-saving, revenue-raising people last).
    """
    for name, predicted in (("revenue", revenue), ("cost", cost)):
        check_tensor(f"predicted {name}", predicted)
    if revenue.ndim != 2 or revenue.shape[1] != 2 or cost.shape != revenue.shape:
        raise ShapeError(
            "revenue and cost must be (N, 2), without and with treatment, got "
            f"{tuple(revenue.shape)} and {tuple(cost.shape)}; with more treatments use EOM."
        )
    check_predictions(revenue, cost, *revenue.shape)
    check_number("floor", floor, above=0)
    gain, price = (one[:, 1].double() - one[:, 0].double() for one in (revenue, cost))
    smallest = floor * price.abs().mean()
    if not bool(smallest > 0):
        raise InvalidValueError(
            "a score per unit of money needs a predicted cost uplift, got 0 for everyone; rank by "
            "revenue uplift instead."
        )
    return gain / torch.maximum(price, smallest)
