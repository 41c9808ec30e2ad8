"""scikit-learn's interface: a policy within a budget as an estimator, and its score in money."""

from dfl.sklearn.budgeted_policy import BudgetedPolicy, Outcomes
from dfl.sklearn.scoring import PolicyScorer, policy_scorer

__all__ = ["BudgetedPolicy", "Outcomes", "PolicyScorer", "policy_scorer"]
