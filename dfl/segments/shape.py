"""The shape of a segment's response: more money never does harm, and ever less good."""

from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from dfl.checks import check_choice

__all__ = ["SHAPES", "Shape", "shaped"]

Shape: TypeAlias = Literal["free", "monotone", "concave"]

SHAPES: tuple[Shape, ...] = ("free", "monotone", "concave")


def shaped(
    revenue: Tensor, cost: Tensor, rows: Tensor, order: Tensor, shape: Shape
) -> tuple[Tensor, Tensor]:
    """Return the nearest revenue and cost of the wanted shape, segment by segment.

    ``"monotone"``: isotonic regression of both over the treatments, weighted by rows.
    ``"concave"``: that, and then revenue is lifted to the upper concave hull over cost, so that
    no treatment lies below a mixture of two others, or another one of the same cost.

    Args:
        revenue: float64. Shape ``(K, M)``.
        cost: float64. Shape ``(K, M)``.
        rows: of each cell, the weights. Shape ``(K, M)``.
        order: treatments from the least to the most generous, int64. Shape ``(M,)``.
        shape: wanted.

    Raises:
        InvalidValueError: if the shape is unknown.

    Source:
        Barlow et al. (1972), Statistical Inference under Order Restrictions, by scikit-learn.
    """
    check_choice("shape", shape, SHAPES)
    if shape == "free":
        return revenue, cost
    from sklearn.isotonic import isotonic_regression

    back = order.argsort()
    weight = rows[:, order].double().clamp(min=1e-6).numpy()
    rising = [
        torch.from_numpy(
            np.stack(
                [
                    isotonic_regression(one, sample_weight=w)
                    for one, w in zip(table, weight, strict=True)
                ]
            )
        )
        for table in (revenue[:, order].numpy(), cost[:, order].numpy())
    ]
    if shape == "concave":
        rising[0] = torch.stack([_hull(r, c) for r, c in zip(*rising, strict=True)])
    return rising[0][:, back], rising[1][:, back]


def _hull(revenue: Tensor, cost: Tensor) -> Tensor:
    """Return the upper concave hull of one segment's points, neither falling, ``(M,)``."""
    lifted = revenue.clone()
    for low in range(len(cost)):
        for high in range(low + 1, len(cost)):
            dearer = cost[low : high + 1] - cost[low]
            share = torch.where(dearer[-1] > 0, dearer / dearer[-1], 1)  # or all cost the same
            line = revenue[low] + share * (revenue[high] - revenue[low])
            lifted[low : high + 1] = lifted[low : high + 1].maximum(line)
    return lifted
