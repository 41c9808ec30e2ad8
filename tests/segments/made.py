"""A table and a plan of three segments and three treatments."""

import torch

from dfl.segments import SegmentTable
from dfl.segments.plan import Planning, SegmentPlan
from dfl.segments.uncertainty import Uncertainty

__all__ = ["SURE", "plan", "table"]

SURE = Uncertainty(cells=False, traffic=0, redemption=0)


def table() -> SegmentTable:
    """Return the golden clusters of 50, 30 and 20 people, per head."""
    double = torch.float64
    return SegmentTable(
        rows=torch.full((3, 3), 100),
        share=torch.tensor([0.5, 0.3, 0.2], dtype=double),
        revenue=torch.tensor([[1, 1.10, 1.15], [0.6, 0.9, 1.05], [0.2, 0.3, 0.7]], dtype=double),
        cost=torch.tensor([[0, 0.08, 0.20], [0, 0.10, 0.26], [0, 0.05, 0.22]], dtype=double),
        revenue_error=torch.full((3, 3), 0.05, dtype=double),
        cost_error=torch.tensor([[0, 0.01, 0.02]] * 3, dtype=double),
    )


def plan(uncertainty: Uncertainty = SURE, **options: object) -> SegmentPlan:
    """Return the plan of the golden budgets, per head."""
    planning = Planning(uncertainty=uncertainty, **options)  # type: ignore[arg-type]
    return planning.plan(table(), [0, 0.02, 0.04, 0.1, 0.2], seed=0)
