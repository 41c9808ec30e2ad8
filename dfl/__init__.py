"""Decision-focused learning for budgeted marketing, from logs to a certified allocation."""

from typing import TYPE_CHECKING

from dfl.errors import DflError
from dfl.registry import lazy

if TYPE_CHECKING:
    from dfl.budget import Budget
    from dfl.budget_path import BudgetPath
    from dfl.data.uplift_data import UpliftData
    from dfl.problem import Allocation, AllocationProblem, ObservedCost

__all__ = [
    "Allocation",
    "AllocationProblem",
    "Budget",
    "BudgetPath",
    "DflError",
    "ObservedCost",
    "UpliftData",
    "__version__",
]

__version__ = "0.1.0"

# Torch takes more than a second to import: what needs it is imported on first use, so that the
# command line is there, and hears Ctrl-C, before.
_NAMES = {
    "Allocation": "problem",
    "AllocationProblem": "problem",
    "Budget": "budget",
    "BudgetPath": "budget_path",
    "ObservedCost": "problem",
    "UpliftData": "data.uplift_data",
}
# ``import dfl`` is enough to write ``dfl.layers.Softmax``.
_FAMILIES = (
    "abtest",
    "budget",
    "budget_path",
    "config",
    "data",
    "hypergrad",
    "lab",
    "layers",
    "losses",
    "methods",
    "metrics",
    "models",
    "pipeline",
    "problem",
    "segments",
    "sklearn",
    "solvers",
    "stats",
    "training",
)
__getattr__ = lazy(__name__, {**_NAMES, **dict.fromkeys(_FAMILIES, "")})


def __dir__() -> list[str]:
    """List families too, imported or not."""
    return sorted({*globals(), *_FAMILIES})
