"""scikit-learn's own checks of an estimator."""

from typing import Any

import numpy as np
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from dfl.sklearn import BudgetedPolicy
from tests.sklearn.conftest import HALF, TINY, policy


def _assigned(X: Any) -> dict[str, Any]:  # noqa: N803
    rows = X.shape[0] if hasattr(X, "shape") else len(X)
    treatment = np.arange(rows) % 2
    return {"treatment": treatment, "cost": treatment.astype(float)}


class Assigned(BudgetedPolicy):  # type: ignore[misc]  # final for users; here it fills in metadata
    """The estimator, with a treatment and a cost for rows of checks that know of neither."""

    def fit(self, X: Any, y: Any, **_: Any) -> "Assigned":  # type: ignore[override]  # noqa: N803
        return super().fit(X, y, **_assigned(X))

    def score(self, X: Any, y: Any, **_: Any) -> float:  # type: ignore[override]  # noqa: N803
        return super().score(X, y, **_assigned(X))


EXPECTED = {
    "check_methods_subset_invariance": "the rows share one budget: who else is there decides, too",
}


@parametrize_with_checks(
    [Assigned(training=TINY, budget=HALF)], expected_failed_checks=lambda _: EXPECTED
)
def test_scikit_learn_checks_an_estimator(estimator: Any, check: Any) -> None:
    check(estimator)


def test_all_that_fails_without_metadata_says_that_it_is_missing() -> None:
    found = check_estimator(policy(), on_fail=None, on_skip=None)
    failed = [one for one in found if one["status"] == "failed"]
    assert {one["status"] for one in found} == {"passed", "failed", "skipped"}
    said = {str(one["exception"]) for one in failed}
    # Four checks look for a text of their own, or for an error where fit has already refused.
    ours = [text for text in said if "needs treatment and cost beside X and revenue" in text]
    assert len(failed) > 20
    assert len(said) - len(ours) <= 8, said
