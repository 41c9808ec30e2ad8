"""`Yardstick`: what models are measured by on the test rows, prepared once for all of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import final

import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.data.uplift_data import UpliftData
from dfl.errors import InfeasibleBudgetError, InvalidValueError, UnsupportedProblemError
from dfl.methods import Prediction
from dfl.metrics import (
    Bootstrap,
    Estimate,
    ExpectedOutcome,
    ReferenceOutcome,
    TrueOutcome,
    TrueScale,
    aucc,
    expected_outcome,
    paired_difference,
    roi_score,
)
from dfl.metrics.constant_mix import best_mix_shares
from dfl.metrics.random_allocation import random_shares
from dfl.metrics.rows.constant_policy import ConstantPolicies
from dfl.metrics.rows.randomised_rows import PolicyEstimator, never_drawn
from dfl.pipeline.today import Today
from dfl.problem import AllocationProblem
from dfl.solvers import AbstractSolver
from dfl.stats import simultaneous_factor

__all__ = ["Evaluation", "Yardstick"]

_CURVE_POINTS = 21
_FEW = 30  # rows of a treatment below which a bootstrap cannot know how much they vary
_NEARBY = {"less": 0.9, "more": 1.1}  # of a budget
_SAME = 1e-9  # relative; mean costs that differ by rounding are the same


@final
@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one model earns on the test rows.

    Args:
        expected: per evaluation budget, estimated from logs; its draws pair with those of
            other models on the same yardstick.
        true: per evaluation budget, where the truth is known, else None.
        aucc: with two treatments, where it is defined, else None.
        metrics: all of it as plain data.
    """

    expected: tuple[ExpectedOutcome, ...]
    true: tuple[TrueOutcome, ...] | None
    aucc: Estimate | None
    metrics: dict[str, object]


@final
@dataclass(frozen=True, eq=False)
class Yardstick:
    """Test rows with budgets and everything that does not depend on a model.

    Args:
        test: randomised rows that no part of a model saw.
        budgets: evaluation budgets.
        points: those budgets, then those of the curve if one is wanted.
        bootstrap: draws and level of the intervals.
        estimator: of all that is read off logs.
        constant_mix: best constant mix at every point.
        random: random allocation at every point.
        truth: what the oracle earns at every point, where the truth is known and every budget
            can be met in it.
        notes: what a reader of the numbers must know of these rows.
        nearby: a tenth less and a tenth more of each evaluation budget, then what is spent today,
            where that is known; empty without a curve.
        today: what doing as today earns, or None.
    """

    test: UpliftData
    budgets: tuple[Budget, ...]
    points: tuple[Budget, ...]
    bootstrap: Bootstrap
    estimator: PolicyEstimator
    constant_mix: tuple[ReferenceOutcome, ...]
    random: tuple[ReferenceOutcome, ...]
    truth: TrueScale | None
    notes: tuple[str, ...]
    nearby: tuple[Budget, ...] = ()
    today: Today | None = None

    @staticmethod
    def of(
        test: UpliftData,
        budgets: Sequence[Budget],
        bootstrap: Bootstrap,
        *,
        estimator: PolicyEstimator = "doubly-robust",
        curve: bool = True,
        today: Today | None = None,
    ) -> "Yardstick":
        """Prepare the yardstick; needs no model, so that bad budgets fail before training.

        Args:
            test: randomised rows.
            budgets: evaluation budgets.
            bootstrap: draws and level of the intervals.
            estimator: of values, mixes and areas, see `expected_outcome`.
            curve: also measure at 21 budgets from the cheapest to the dearest treatment, and near
                the evaluation budgets.
            today: what doing as today earns; compared with where there is a curve.

        Raises:
            InvalidValueError: if the rows cannot be evaluated on; see `best_constant_mix`.
            InfeasibleBudgetError: if a budget is below the cheapest treatment for everyone.
        """
        last = _CURVE_POINTS - 1
        shares = [Budget(share=k / last) for k in range(_CURVE_POINTS)] if curve else []
        points = (*budgets, *shares)
        truth, why_no_truth = _true_scale(test, points)
        paid, arms = test.cost.double(), range(test.treatments)
        cost = [float(paid[test.treatment == arm].mean()) for arm in arms]
        constant = ConstantPolicies.of(test, points, estimator, bootstrap)
        by = () if estimator == "doubly-robust" else (f"Values are {estimator} estimates.",)
        return Yardstick(
            test,
            tuple(budgets),
            points,
            bootstrap,
            estimator,
            constant.outcomes(best_mix_shares),
            constant.outcomes(random_shares),
            truth,
            (*_notes_on_costs(cost), *_notes_on_rows(test), *why_no_truth, *by),
            _nearby(constant, len(budgets), today) if curve else (),
            today if curve else None,
        )

    def measure(self, predicted: Prediction, solver: AbstractSolver) -> Evaluation:
        """Measure a model by its predictions on the test rows.

        Args:
            predicted: revenue and cost of the test rows.
            solver: allocates, for the mix of treatments against the budget.

        Raises:
            InvalidValueError: if predictions are not finite, or as `expected_outcome`.
            UnsupportedProblemError: if the solver cannot allocate one budget.
        """
        revenue, cost = predicted.revenue, predicted.cost
        everywhere = (*self.points, *self.nearby)
        expected = expected_outcome(
            self.test,
            revenue,
            cost,
            everywhere,
            estimator=self.estimator,
            bootstrap=self.bootstrap,
        )
        true = None if self.truth is None else self.truth.measure(revenue, cost)
        number = len(self.budgets)
        area, why_no_area = self._aucc(revenue, cost)
        metrics: dict[str, object] = {
            "budgets": [self._at(k, expected[k], true) for k in range(number)],
            "against_best_mix": {
                str(budget): self._against_mix(k, expected[k])
                for k, budget in enumerate(self.budgets)
            },
            "arms": self._arms(),
            "notes": list(self.notes),
            "level": self.bootstrap.level,
        }
        if area is not None:
            metrics["aucc"] = estimate_to_dict(area)
        elif why_no_area is not None:
            metrics["aucc"] = {"undefined": why_no_area}
        if len(self.points) > number:
            metrics |= self._curve(expected, true) | self._near(expected)
            metrics["mix"] = _mix(predicted, solver)
        return Evaluation(expected[:number], None if true is None else true[:number], area, metrics)

    def _at(
        self, index: int, expected: ExpectedOutcome, true: tuple[TrueOutcome, ...] | None
    ) -> dict[str, object]:
        """Return everything known at one evaluation budget."""
        found: dict[str, object] = {
            "given": str(self.budgets[index]),
            "per_head": expected.budget,
            "eom": estimate_to_dict(expected.estimate),
            "cost": expected.cost,
            "multiplier": expected.multiplier,
            "mixed_with_cheapest": expected.mixed_with_cheapest,
            "constant_mix": estimate_to_dict(self.constant_mix[index].estimate),
            "random": estimate_to_dict(self.random[index].estimate),
        }
        if true is not None:
            found["true"] = _true_to_dict(true[index])
        return found

    def _against_mix(self, index: int, expected: ExpectedOutcome) -> dict[str, object]:
        """Return what the model earns more than the best constant mix, paired."""
        return self._paired(expected.estimate, self.constant_mix[index].estimate)

    def _paired(self, one: Estimate, other: Estimate) -> dict[str, object]:
        pair = paired_difference(one, other, level=self.bootstrap.level)
        return {**estimate_to_dict(pair.estimate), "p_value": pair.p_value}

    def _curve(
        self, expected: Sequence[ExpectedOutcome], true: tuple[TrueOutcome, ...] | None
    ) -> dict[str, object]:
        """Return the curve; the band of the difference to the best mix holds at all points."""
        points = range(len(self.budgets), len(self.points))
        more = [
            paired_difference(expected[k].estimate, self.constant_mix[k].estimate).estimate
            for k in points
        ]
        factor = simultaneous_factor(more, self.bootstrap.level)
        curve = []
        for k, one in zip(points, more, strict=True):
            reach = factor * one.standard_error
            band = {"value": one.value, "low": one.value - reach, "high": one.value + reach}
            curve.append(self._point(k, expected[k], true) | {"against_mix": band})
        return {"curve": curve}

    def _near(self, expected: Sequence[ExpectedOutcome]) -> dict[str, object]:
        """Return what each budget buys, what a tenth more or less changes, and as today."""
        least = expected[len(self.budgets)]  # the curve begins at the cheapest treatment
        found: dict[str, object] = {}
        near = iter(expected[len(self.points) :])
        for budget, ours in zip(self.budgets, expected, strict=False):
            changes = {
                word: {"budget": other.budget, **self._paired(other.estimate, ours.estimate)}
                for word, other in zip(_NEARBY, near, strict=False)
            }
            buys = self._paired(ours.estimate, least.estimate)
            found[str(budget)] = {"least": least.budget, "buys": buys, **changes}
        if self.today is None:
            return {"nearby": found}
        ours, level = next(near), self.bootstrap.level
        return {"nearby": found, "as_today": self.today.against(ours.budget, ours.estimate, level)}

    def _point(
        self, index: int, expected: ExpectedOutcome, true: tuple[TrueOutcome, ...] | None
    ) -> dict[str, object]:
        """Return one point of the curve."""
        point: dict[str, object] = {
            "budget": expected.budget,
            "value": expected.value,
            "low": expected.low,
            "high": expected.high,
            "multiplier": expected.multiplier,
            "constant_mix": self.constant_mix[index].estimate.value,
            "random": self.random[index].estimate.value,
        }
        if true is not None:
            one = true[index]
            point["true"] = {"budget": one.budget, "value": one.value, "oracle": one.oracle}
        return point

    def _arms(self) -> dict[str, object]:
        """Return mean revenue and cost of every treatment given to everyone."""
        test = self.test
        weight = test.weight.double()
        arms: dict[str, object] = {}
        for arm, name in enumerate(treatment_names(test)):
            own = weight * (test.treatment == arm)
            arms[name] = {
                "rows": int((test.treatment == arm).sum()),
                "revenue": float((own * test.revenue).sum() / own.sum()),
                "cost": float((own * test.cost).sum() / own.sum()),
            }
        return arms

    def _aucc(self, revenue: Tensor, cost: Tensor) -> tuple[Estimate | None, str | None]:
        """Return AUCC, or why there is none."""
        if self.test.treatments != 2:
            return None, None
        try:
            score = roi_score(revenue, cost)
            area = aucc(self.test, score, estimator=self.estimator, bootstrap=self.bootstrap)
            return area, None
        except (InvalidValueError, UnsupportedProblemError) as error:
            return None, str(error)  # effects too close to 0 in some draw; several propensities


def treatment_names(data: UpliftData) -> tuple[str, ...]:
    """Return the treatments' names, or ``treatment 0`` and so on where there are none."""
    return data.treatment_names or tuple(f"treatment {j}" for j in range(data.treatments))


def estimate_to_dict(estimate: Estimate) -> dict[str, object]:
    """Return value, standard error and interval."""
    keys = ("value", "standard_error", "low", "high")
    return {key: getattr(estimate, key) for key in keys}


def _true_scale(
    test: UpliftData, points: Sequence[Budget]
) -> tuple[TrueScale | None, tuple[str, ...]]:
    """Return the true scale, or why there is none although the truth is known."""
    if test.truth is None:
        return None, ()
    try:
        return TrueScale.of(test.truth, points), ()
    except InfeasibleBudgetError as error:  # in truth, while the logs say that it can be met
        return None, (f"No true values: {error}",)


def _nearby(constant: ConstantPolicies, budgets: int, today: Today | None) -> tuple[Budget, ...]:
    """Return a tenth less and more of the first budgets, and today's; none below the cheapest."""
    least = max(float(constant.means[0].min()), 0.0)
    amounts = [
        factor * amount for amount in constant.budgets[:budgets] for factor in _NEARBY.values()
    ]
    amounts += [] if today is None else [today.cost]
    return tuple(Budget(per_head=max(amount, least)) for amount in amounts)


def _notes_on_costs(cost: Sequence[float]) -> tuple[str, ...]:
    if len(cost) > 1 and max(cost) - min(cost) <= _SAME * max(cost):
        return (
            f"All treatments cost the same, {cost[0]:g} per head: the budget plays no part, and "
            "the best treatment of each person is given.",
        )
    return ()


def _notes_on_rows(test: UpliftData) -> list[str]:
    return [
        f"Treatment {name!r} has {rows} test rows, fewer than {_FEW}: intervals of whatever gives "
        "it are too narrow."
        for name, rows in zip(treatment_names(test), test.arm_counts.tolist(), strict=True)
        if rows < _FEW
    ] + never_drawn(test)


def _true_to_dict(true: TrueOutcome) -> dict[str, object]:
    try:
        share: float | None = true.share_of_gain
    except InvalidValueError:  # the oracle gains nothing at this budget
        share = None
    return {**asdict(true), "regret": true.regret, "share_of_gain": share}


def _mix(predicted: Prediction, solver: AbstractSolver) -> list[dict[str, object]]:
    """Allocate at budgets from the cheapest to the dearest allocation, by predicted costs."""
    rows, arms = predicted.cost.shape
    mix: list[dict[str, object]] = []
    for k in range(_CURVE_POINTS):
        share = Budget(share=k / (_CURVE_POINTS - 1))
        total = share.total_of(predicted.cost)
        found = solver.solve(AllocationProblem(predicted.revenue, predicted.cost, total))
        counts = torch.bincount(found.choice, minlength=arms)
        mix.append({"budget": total / rows, "shares": (counts / rows).tolist()})
    return mix
