"""`policy_scorer`: money per head at a budget, as the scoring of a search."""

from dataclasses import dataclass
from typing import Any, final

from sklearn.utils.metadata_routing import MetadataRequest
from sklearn.utils.validation import check_is_fitted

from dfl.budget import Budget
from dfl.errors import InvalidValueError
from dfl.sklearn.budgeted_policy import BudgetedPolicy
from dfl.sklearn.rows import METADATA, logged
from dfl.sklearn.value import money_per_head

__all__ = ["PolicyScorer", "policy_scorer"]


def policy_scorer(budget: Budget) -> "PolicyScorer":
    """Return a scoring for searches and cross-validation: money per head at a budget.

    `BudgetedPolicy.score` at a budget of the scorer's own, so that one search can look at several:
    ``scoring={"tight": policy_scorer(Budget(share=0.1)), "wide": policy_scorer(Budget(share=1))}``.

    Args:
        budget: money.
    """
    return PolicyScorer(budget)


@final
@dataclass(frozen=True)
class PolicyScorer:
    """Scores a `BudgetedPolicy`, alone or as the last step of a pipeline, by money per head.

    Args:
        budget: money.
    """

    budget: Budget

    def __call__(
        self,
        estimator: Any,
        X: Any,  # noqa: N803  # scikit-learn's name
        y: Any,
        *,
        treatment: Any = None,
        cost: Any = None,
        source: Any = None,
    ) -> float:
        """Return money per head, doubly robust; arguments as of `BudgetedPolicy.score`.

        Raises:
            InvalidValueError: if the estimator is no `BudgetedPolicy`, or as that says.
            ShapeError: as `BudgetedPolicy.score`.
            DataError: as there.
            InfeasibleBudgetError: as there.
        """
        policy = estimator
        if hasattr(estimator, "steps"):
            policy = estimator[-1]
            X = estimator[:-1].transform(X) if len(estimator) > 1 else X  # noqa: N806
        if not isinstance(policy, BudgetedPolicy):
            raise InvalidValueError(
                "policy_scorer scores a BudgetedPolicy, alone or as the last step of a Pipeline, "
                f"got {type(policy).__name__}."
            )
        check_is_fitted(policy)
        parts = logged(policy, X, y, fit=False, treatment=treatment, cost=cost, source=source)
        return money_per_head(policy.model_, parts, self.budget)

    def get_metadata_routing(self) -> MetadataRequest:
        """Ask for what a score needs."""
        request = MetadataRequest(owner=self)
        for name in METADATA:
            request.score.add_request(param=name, alias=True)
        return request
