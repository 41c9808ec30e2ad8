"""Decision-focused learning for budgeted marketing, from logs to a certified allocation."""

from dfl.budget import Budget
from dfl.budget_path import BudgetPath
from dfl.data.uplift_data import UpliftData
from dfl.errors import DflError
from dfl.problem import Allocation, AllocationProblem, ObservedCost
from dfl.registry import lazy

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

# ``import dfl`` is enough to write ``dfl.layers.Softmax``: families are imported on first use.
_FAMILIES = (
    "abtest",
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
    "segments",
    "sklearn",
    "solvers",
    "stats",
    "training",
)
__getattr__ = lazy(__name__, dict.fromkeys(_FAMILIES, ""))


def __dir__() -> list[str]:
    """List families too, imported or not."""
    return sorted({*globals(), *_FAMILIES})
