"""Upper concave hull of every person's treatments, as steps from the cheapest upwards."""

from torch import Tensor

from dfl.budget_path import HullSteps
from dfl.solvers.passes import Backend, passes_for

__all__ = ["hull_steps"]


def hull_steps(
    revenue: Tensor,  # (N, M)
    cost: Tensor,  # (N, M)
    *,
    backend: Backend = "auto",
) -> HullSteps:
    """Walk along the upper concave hull of the points ``(cost_j, revenue_j)`` of each person.

    From the treatment reached so far, the next one is the dearer treatment of largest
    ``added revenue / added cost``, the nearest where several lie on one line. Free gains are
    part of the start; treatments that are dominated, or dominated by a mix of two others,
    never come up.

    Args:
        revenue: revenue, in currency, finite. Shape ``(N, M)``, M >= 1.
        cost: cost, in the same currency, finite. Shape ``(N, M)``.
        backend: see `passes_for`; all give the same steps.

    Returns:
        The steps, at most ``N * (M - 1)``. The arithmetic is float64 whatever the inputs are.

    Raises:
        InvalidValueError: if the back end does not exist, or not for this device.
        MissingExtraError: if the back end is not installed.

    Source:
        Sinha and Zoltners (1979), doi:10.1287/opre.27.3.503, and Zemel (1984),
        doi:10.1016/0020-0190(84)90014-0: only hull steps matter to the LP relaxation.
    """
    return passes_for(backend, revenue.device).hull(revenue, cost)
