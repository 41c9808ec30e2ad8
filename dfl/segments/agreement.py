"""`Agreement`: how well a distilled classifier stands in for the segments it imitates."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.segments.plan import SegmentPlan
from dfl.segments.table import SegmentTable

__all__ = ["Agreement"]


@final
@dataclass(frozen=True, eq=False)
class Agreement:
    """A student beside its teacher, on people that it did not learn from.

    Args:
        segments: share of people whom both put into the same segment.
        treatments: share of people who get the same treatment, at each budget. Shape ``(B,)``.
        revenue_lost: revenue per head that the teacher's segments would have earned more, by
            their table, in currency. Shape ``(B,)``.
        cost_added: cost per head that the student's choice adds, likewise. Shape ``(B,)``.
    """

    segments: float
    treatments: Tensor
    revenue_lost: Tensor
    cost_added: Tensor

    @staticmethod
    def of(teacher: Tensor, student: Tensor, table: SegmentTable, plan: SegmentPlan) -> "Agreement":
        """Compare two labels of the same people.

        Args:
            teacher: segment of each person, int64. Shape ``(N,)``.
            student: likewise.
            table: of the teacher's segments: what a person of a segment brings and costs.
            plan: which treatment each segment gets.
        """
        size = table.segments
        both = torch.bincount(teacher.cpu() * size + student.cpu(), minlength=size**2)
        share = both.reshape(size, size).float() / max(
            len(teacher), 1
        )  # (K of teacher, K of student)
        meant, got = plan.choice[:, :, None], plan.choice[:, None, :]  # (B, K, 1), (B, 1, K)
        segment = torch.arange(size)[:, None]

        def change(amount: Tensor) -> Tensor:
            return (share * (amount[segment, got] - amount[segment, meant])).sum(dim=(1, 2))

        return Agreement(
            float(share.diagonal().sum()),
            (share * (meant == got)).sum(dim=(1, 2)),
            0.0 - change(table.revenue),
            change(table.cost),
        )
