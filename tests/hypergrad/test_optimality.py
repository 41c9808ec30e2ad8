import warnings

import pytest

from dfl.hypergrad import ConjugateGradient, NotAtOptimumWarning, warn_unless_optimal
from tests.hypergrad.problems import network, ridge


def test_at_the_optimum_nothing_is_said() -> None:
    problem = ridge()
    found = ConjugateGradient()(
        problem.inner_loss, problem.outer_loss, problem.inner, problem.outer
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_unless_optimal(found.diagnostics, atol=1e-10)
    assert "inner gradient of norm" in found.diagnostics.describe()


def test_elsewhere_it_is_said_on_request_alone() -> None:
    problem = network(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ConjugateGradient(max_iter=2, on_failure="return")(
            problem.composed, problem.outer_loss, problem.inner, problem.outer
        )
    with pytest.warns(NotAtOptimumWarning, match=r"norm .* above 0\.001: inner is no optimum"):
        warn_unless_optimal(found.diagnostics, atol=1e-3)
