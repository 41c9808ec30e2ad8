"""`RandomisedRows`: logged outcomes with weights that undo the draw of the treatment."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final, get_args

import numpy as np
import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.checks import check_choice, check_part, check_tensor
from dfl.data.uplift_data import PotentialOutcomes, UpliftData
from dfl.errors import DTypeError, InfeasibleBudgetError, InvalidValueError, ShapeError
from dfl.metrics.rows.baselines import cross_fitted
from dfl.stats.arrays import Counts, Cube, Integers, Matrix, Vector

__all__ = [
    "PolicyEstimator",
    "RandomisedRows",
    "UnsafeEstimatorWarning",
    "amounts_of",
    "baselines_of",
    "check_data",
    "check_people",
    "check_predictions",
    "check_real",
    "check_score",
    "never_drawn",
    "per_head_budgets",
    "true_amounts",
]

PolicyEstimator: TypeAlias = Literal["doubly-robust", "self-normalised", "horvitz-thompson"]

_SLACK = 1e-6  # relative; prices come rounded to float32, and 0.1 is then 0.1000000015
_UNSAFE = 3.0  # a mean of so many standard deviations triples the error of horvitz-thompson


@final
class UnsafeEstimatorWarning(UserWarning):
    """The estimator is noisy on these rows, or they cannot say, for a reason that it names."""


@final
@dataclass(frozen=True, eq=False)
class RandomisedRows:
    """Logged rows in float64, ready to be weighted draw after draw.

    With ``y`` an outcome, ``t`` the treatment received, ``p`` its propensity and ``m_j(x)`` the
    outcome predicted under treatment j, a policy is worth the mean of ``m_choice + 1[t = choice]
    (y - m_t) / p``.

    - doubly-robust: ``m`` is `cross_fitted` on these rows. Right on average whatever ``m``;
      unmoved by a constant added to every outcome; an outcome that each treatment fixes, such as
      a list price, is met exactly.
    - horvitz-thompson: ``m = 0``, as published. Unsafe where the mean of an outcome is large
      against its spread: a constant added to everyone's revenue multiplies the error.
    - self-normalised: that, over what ``1[t = choice] / p`` sums to: a weighted mean of the rows
      that received what the policy chooses, so that such a constant does nothing.

    Args:
        treatment: treatment received. Shape ``(N,)``.
        arms: number of treatments M.
        baseline: ``m`` of cost and of revenue, in currency. Shape ``(2, N, M)``.
        missed: ``y - m_t`` of both, divided by ``p`` where that is known. Shape ``(2, N)``.
        known: whether the propensity is known. If not, it is the share of the arm, taken
            anew in every draw.
        matching: ``1 / p`` where that is known, else 1, if sums are divided by what these sum to;
            otherwise None. Shape ``(N,)``.
    """

    treatment: Integers
    arms: int
    baseline: Cube
    missed: Matrix
    known: bool
    matching: Vector | None

    @classmethod
    def of(cls, data: UpliftData, estimator: PolicyEstimator = "doubly-robust") -> "RandomisedRows":
        """Take what is needed from logs.

        Raises:
            InvalidValueError: for observational rows of unknown propensity, what is no rows, or
                an unknown estimator.

        Warns:
            UnsafeEstimatorWarning: if horvitz-thompson meets a mean revenue above three times
                its standard deviation within treatments, or a treatment has propensity 0
                somewhere.
        """
        check_data(data)
        if data.source == "obs" and data.propensity is None:
            raise InvalidValueError(
                "data must be randomised, or carry a known propensity: the value of a policy "
                "cannot be read off observational rows; keep randomised rows for evaluation."
            )
        check_choice("estimator", estimator, get_args(PolicyEstimator))
        treatment, logged = data.treatment.cpu().numpy(), amounts_of(data)
        if estimator == "doubly-robust":
            baseline = baselines_of(data)
        else:
            baseline = np.broadcast_to(0.0, (2, len(data), data.treatments))
        if estimator == "horvitz-thompson":
            _warn_if_unsafe(logged[1], treatment, data.treatments)
        for note in never_drawn(data):
            warnings.warn(note, UnsafeEstimatorWarning, stacklevel=4)
        missed = logged - baseline[:, np.arange(len(data)), treatment]
        known, chance = data.propensity is not None, np.ones(len(data))
        if data.propensity is not None:
            chosen = data.propensity.gather(1, data.treatment[:, None]).squeeze(1)
            chance = chosen.detach().to("cpu", torch.float64).numpy()
            missed = missed / chance
        matching = 1 / chance if estimator == "self-normalised" else None
        return cls(treatment, data.treatments, baseline, missed, known, matching)

    def scale(self, counts: Counts) -> Vector:
        """Return what turns sums over the rows of an arm into means per head.

        ``1 / n_t`` with ``n_t`` the drawn rows of the arm, which is inverse propensity
        ``n / n_t`` over ``n``; ``1 / n`` where the propensity is known and divided out.

        Args:
            counts: how often each row comes. Shape ``(N,)``.

        Returns:
            Shape ``(M,)``.
        """
        per_arm = np.bincount(self.treatment, weights=counts, minlength=self.arms)
        return 1 / (np.full(self.arms, per_arm.sum()) if self.known else per_arm)

    def arm_means(self, counts: Counts) -> tuple[Vector, Vector]:
        """Return mean cost and revenue of every treatment, per head, each ``(M,)``.

        Args:
            counts: how often each row comes. Shape ``(N,)``.
        """
        scale, times = self.scale(counts), counts.astype(np.float64)
        if self.matching is not None:
            own = times * self.matching
            scale = 1 / np.bincount(self.treatment, weights=own, minlength=self.arms)
        cost, revenue = (
            times @ baseline / times.sum()
            + scale * np.bincount(self.treatment, weights=times * missed, minlength=self.arms)
            for baseline, missed in zip(self.baseline, self.missed, strict=True)
        )
        return cost, revenue

    def as_logged(self) -> Counts:
        """Return the counts of the rows as they are: one each, shape ``(N,)``."""
        return np.ones(len(self.treatment), dtype=np.int16)


def amounts_of(data: UpliftData) -> Matrix:
    """Return logged cost and revenue, float64, shape ``(2, N)``."""
    return torch.stack([data.cost, data.revenue]).detach().to("cpu", torch.float64).numpy()


def baselines_of(data: UpliftData) -> Cube:
    """Return cost and revenue that `cross_fitted` predicts, shape ``(2, N, M)``."""
    return cross_fitted(
        data.features.detach().to("cpu", torch.float64).numpy(),
        data.treatment.cpu().numpy(),
        amounts_of(data),
        data.treatments,
        None if data.groups is None else data.groups.cpu().numpy(),
    )


def never_drawn(data: UpliftData) -> list[str]:
    """Say which treatments some rows could not receive: what these bring there is in no log."""
    if data.propensity is None:
        return []
    rows = (data.propensity == 0).sum(dim=0).tolist()
    return [
        f"Treatment {arm} has propensity 0 in {number} of {len(data)} rows: what it brings there "
        "is not in the logs, and values and intervals of whatever gives it to them mean nothing; "
        "evaluate on rows that could receive every treatment."
        for arm, number in enumerate(rows)
        if number
    ]


def _warn_if_unsafe(revenue: Vector, treatment: Integers, arms: int) -> None:
    rows = np.bincount(treatment, minlength=arms)
    means = np.bincount(treatment, weights=revenue, minlength=arms) / np.maximum(rows, 1)
    size, spread = abs(revenue.mean()), (revenue - means[treatment]).std()
    if size > _UNSAFE * spread:
        warnings.warn(
            f"horvitz-thompson is unsafe here: the mean revenue is {size:.3g}, its standard "
            f"deviation within treatments {spread:.3g}, and the mean multiplies the error; use "
            "estimator='doubly-robust'.",
            UnsafeEstimatorWarning,
            stacklevel=5,
        )


def check_data(data: object) -> None:
    """Refuse what is no logged rows, such as their features, by an `InvalidValueError`."""
    check_part("data", data, UpliftData, "UpliftData(...) or dfl.data.load(...)")


def check_people(truth: PotentialOutcomes) -> None:
    """Refuse a truth of nobody, by an `InvalidValueError`."""
    if not len(truth.revenue):
        raise InvalidValueError("truth must hold at least one person, got none.")


def true_amounts(truth: PotentialOutcomes) -> tuple[Tensor, Tensor]:
    """Return true cost and revenue, float64, on the CPU and without a graph, each ``(N, M)``.

    Raises:
        InvalidValueError: if there is nobody.
    """
    check_people(truth)
    cost, revenue = (one.detach().to("cpu", torch.float64) for one in (truth.cost, truth.revenue))
    return cost, revenue


def check_real(name: str, value: Tensor) -> None:
    """Refuse what is no tensor of real numbers, by a `DTypeError`."""
    check_tensor(name, value)
    if value.is_complex():
        raise DTypeError(f"{name} must hold real numbers, got {value.dtype}; take .real of it.")


def check_score(score: Tensor, rows: int) -> Tensor:
    """Return a score in float64, on the CPU and without its graph.

    Args:
        score: of any real dtype. Shape ``(N,)``.
        rows: N.

    Raises:
        DTypeError: if it is no tensor of real numbers.
        ShapeError: if it is not ``(N,)``.
        InvalidValueError: if it is NaN or infinite somewhere, or there are no rows.
    """
    check_real("score", score)
    if tuple(score.shape) != (rows,):
        raise ShapeError(f"score must be ({rows},), one per row, got {tuple(score.shape)}.")
    if not rows:
        raise InvalidValueError("score must rank at least one row, got none.")
    found = score.detach().to("cpu", torch.float64)
    if not bool(found.isfinite().all()):
        raise InvalidValueError("score must be finite, got NaN or infinity.")
    return found


def check_predictions(revenue: Tensor, cost: Tensor, rows: int, treatments: int) -> None:
    """Refuse predictions that do not fit the rows or are not finite.

    Args:
        revenue: predicted revenue. Shape ``(N, M)``.
        cost: predicted cost. Shape ``(N, M)``.
        rows: N.
        treatments: M.

    Raises:
        DTypeError: if they are no tensors of real numbers.
        ShapeError: if a shape is not ``(N, M)``.
        InvalidValueError: if a prediction is NaN or infinite.
    """
    for name, predicted in (("revenue", revenue), ("cost", cost)):
        check_real(f"predicted {name}", predicted)
        if tuple(predicted.shape) != (rows, treatments):
            raise ShapeError(
                f"predicted {name} must be {(rows, treatments)}, one row per row of the data and "
                f"one column per treatment, got {tuple(predicted.shape)}."
            )
        if not bool(predicted.isfinite().all()):
            raise InvalidValueError(
                f"predicted {name} must be finite, got NaN or infinity in "
                f"{int((~predicted.isfinite()).sum())} value(s)."
            )


def _check_budgets(budgets: object) -> None:
    """Refuse what is no sequence of `Budget`, such as a list of numbers."""
    if not isinstance(budgets, Sequence) or not all(isinstance(one, Budget) for one in budgets):
        raise DTypeError(
            f"budgets must be a sequence of Budget, got {budgets!r}; write [Budget(per_head=...)]."
        )


def per_head_budgets(budgets: Sequence[Budget], rows: int, arm_cost: Vector) -> list[float]:
    """Return budgets in currency per head.

    Args:
        budgets: in any unit; ``share`` lies between the cheapest and the dearest treatment
            given to everyone.
        rows: N.
        arm_cost: mean cost of every treatment, in currency. Shape ``(M,)``.

    Returns:
        None below the cheapest treatment for everyone: a budget that misses it by rounding is
        taken for it.

    Raises:
        DTypeError: if they are no sequence of `Budget`.
        InvalidValueError: if there is no budget.
        InfeasibleBudgetError: if a budget is below the cheapest treatment for everyone.
    """
    _check_budgets(budgets)
    if not budgets:
        raise InvalidValueError("budgets must hold at least one Budget, got none.")
    cheapest, dearest = float(arm_cost.min()), float(arm_cost.max())
    amounts = [b.total_for(rows, cheapest * rows, dearest * rows) / rows for b in budgets]
    for budget, amount in zip(budgets, amounts, strict=True):
        if amount < cheapest - _SLACK * dearest:
            raise InfeasibleBudgetError(
                f"budget {budget} is {amount:g} per head, below the {cheapest:g} per head that "
                "the cheapest treatment costs; raise the budget."
            )
    return [max(amount, cheapest) for amount in amounts]
