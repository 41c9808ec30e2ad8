"""Decision-focused learning for budgeted marketing, from logs to a certified allocation."""

from dfl.budget import Budget
from dfl.budget_path import BudgetPath
from dfl.data.uplift_data import UpliftData
from dfl.errors import DflError
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
