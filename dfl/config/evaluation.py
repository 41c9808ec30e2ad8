"""`EvaluationSettings`: how a run estimates what a policy is worth, and how sure that is."""

from dataclasses import dataclass
from typing import final, get_args

from dfl.checks import check_choice
from dfl.metrics import Bootstrap
from dfl.metrics.rows.randomised_rows import PolicyEstimator

__all__ = ["EvaluationSettings"]


@final
@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What the section ``evaluation`` of a configuration says.

    Args:
        draws: of the bootstrap, see `Bootstrap`.
        level: of the intervals.
        seed: of the draws.
        estimator: of every value that is read off logs, see `dfl.metrics.expected_outcome`.

    Raises:
        InvalidValueError: if a number is out of range or the estimator is unknown.
    """

    draws: int = Bootstrap.draws
    level: float = Bootstrap.level
    seed: int = Bootstrap.seed
    estimator: PolicyEstimator = "doubly-robust"

    def __post_init__(self) -> None:
        """Check the options."""
        check_choice("estimator", self.estimator, get_args(PolicyEstimator))
        Bootstrap(draws=self.draws, level=self.level, seed=self.seed)

    @property
    def bootstrap(self) -> Bootstrap:
        """The draws."""
        return Bootstrap(draws=self.draws, level=self.level, seed=self.seed)
