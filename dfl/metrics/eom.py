"""Expected outcome metric: what a model's allocation would earn at a budget, from logs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from dfl.budget import Budget
from dfl.checks import check_count
from dfl.data.uplift_data import UpliftData
from dfl.metrics.rows.policy_steps import PolicySteps
from dfl.metrics.rows.randomised_rows import PolicyEstimator, per_head_budgets
from dfl.metrics.rows.redrawn import redrawn, rows_key
from dfl.stats.bootstrap import DEFAULT_BOOTSTRAP, Bootstrap, Estimate

__all__ = ["ExpectedOutcome", "eom_curve", "expected_outcome"]


@final
@dataclass(frozen=True, eq=False)
class ExpectedOutcome:
    """Estimated revenue per head of a feasible allocation; times N for the total.

    Args:
        budget: money per head, in currency.
        cost: estimated spend per head, in currency, at most the budget.
        multiplier: price of money at which the two mixed policies meet; 0 if the budget is
            not used up.
        mixed_with_cheapest: share of people given the cheapest treatment because no
            multiplier meets the budget, in [0, 1]; 0 means that the model's own allocation
            is feasible.
        estimate: revenue per head, in currency, with its error.
    """

    budget: float
    cost: float
    multiplier: float
    mixed_with_cheapest: float
    estimate: Estimate

    @property
    def value(self) -> float:
        """Estimated revenue per head, in currency."""
        return self.estimate.value

    @property
    def standard_error(self) -> float:
        """Bootstrap standard error of the value, in currency per head."""
        return self.estimate.standard_error

    @property
    def low(self) -> float:
        """Lower end of the confidence interval, in currency per head."""
        return self.estimate.low

    @property
    def high(self) -> float:
        """Upper end of the confidence interval, in currency per head."""
        return self.estimate.high


def expected_outcome(
    data: UpliftData,
    revenue: Tensor,  # (N, M)
    cost: Tensor,  # (N, M)
    budgets: Sequence[Budget],
    *,
    estimator: PolicyEstimator = "doubly-robust",
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> tuple[ExpectedOutcome, ...]:
    """Estimate what a model's allocation earns at each budget, with errors.

    With ``y`` the revenue, ``p`` the propensity (the known one, else the share of the arm) and
    ``m_j`` the revenue of treatment j that features predict without the row itself,

    ``value = mean_i [m_choice(x_i) + 1[t_i = choice_i] (y_i - m_t(x_i)) / p(t_i)]``

    at the multiplier where the spend, estimated in the same way from **observed** costs, meets
    the budget; see `SpendCurve.at` for how it is met. In every bootstrap draw the whole
    procedure is done again but for the predictions ``m``, whose error does not count to first
    order: arm shares, spend curve, search of the multiplier. The budget stays the same amount
    of money, and the cheapest treatment the same treatment.

    Args:
        data: randomised rows, or rows of known propensity, that no part of the model saw.
        revenue: predicted revenue, in currency. Shape ``(N, M)``.
        cost: predicted cost, in currency. Shape ``(N, M)``.
        budgets: in any unit; a share lies between the cheapest and the dearest treatment
            given to everyone, by their observed mean costs.
        estimator: ``"doubly-robust"``: as above; a constant added to all revenue does not
            touch its error, and costs that each treatment fixes are met exactly.
            ``"horvitz-thompson"``: ``m = 0``, as published; unsafe where the mean revenue is
            large against its spread, and warned of there. ``"self-normalised"``: that, divided
            by what it makes of an outcome that is 1 for everyone.
        bootstrap: draws, level and seed.

    Returns:
        One `ExpectedOutcome` per budget, in the order given.

    Raises:
        DTypeError: if the budgets are no sequence of `Budget`.
        ShapeError: if predictions do not fit the rows.
        InvalidValueError: if predictions are not finite, no budget is given, the rows are
            observational and carry no propensity, the estimator is unknown, a treatment is
            too rare to bootstrap, or self-normalised finds nobody who received what is chosen.
        InfeasibleBudgetError: if even the cheapest treatment for everyone costs more than a
            budget.

    Warns:
        UnsafeEstimatorWarning: if the mean revenue is above three times its standard deviation
            within treatments, where horvitz-thompson is asked for, or a treatment has propensity
            0 somewhere.

    Source:
        Zhou et al. (2025), arXiv:2510.19517, Algorithm 6 (horvitz-thompson). Deviations: those
        of `SpendCurve`; standard errors. Doubly robust: Dudik, Langford and Li (2011),
        arXiv:1103.4601.
    """
    steps = PolicySteps.of(data, revenue, cost, estimator)
    rows = steps.rows
    amounts = per_head_budgets(budgets, len(data), rows.arm_means(rows.as_logged())[0])
    as_logged = steps.plateaus(rows.as_logged()).mixes(amounts)
    draws = [
        [mix.value for mix in steps.plateaus(counts).mixes(amounts)]
        for counts in redrawn(data, bootstrap)
    ]
    key = rows_key(data, bootstrap)
    return tuple(
        ExpectedOutcome(
            budget=amount,
            cost=mix.cost,
            multiplier=float(steps.events.multiplier[mix.plateau]),
            mixed_with_cheapest=mix.cheapest,
            estimate=bootstrap.estimate(mix.value, drawn, key),
        )
        for amount, mix, drawn in zip(amounts, as_logged, zip(*draws, strict=True), strict=True)
    )


def eom_curve(
    data: UpliftData,
    revenue: Tensor,  # (N, M)
    cost: Tensor,  # (N, M)
    *,
    points: int = 21,
    estimator: PolicyEstimator = "doubly-robust",
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> tuple[ExpectedOutcome, ...]:
    """Estimate the value at evenly spaced budgets, cheapest to dearest treatment for all.

    Args:
        data: as in `expected_outcome`.
        revenue: predicted revenue, in currency. Shape ``(N, M)``.
        cost: predicted cost, in currency. Shape ``(N, M)``.
        points: number of budgets, >= 2.
        estimator: as in `expected_outcome`.
        bootstrap: draws, level and seed.

    Returns:
        One `ExpectedOutcome` per budget, budgets rising.

    Raises:
        ShapeError: if predictions do not fit the rows.
        InvalidValueError: as `expected_outcome`, and if ``points`` is below 2.
    """
    check_count("points", points, at_least=2)
    shares = [Budget(share=k / (points - 1)) for k in range(points)]
    return expected_outcome(data, revenue, cost, shares, estimator=estimator, bootstrap=bootstrap)
