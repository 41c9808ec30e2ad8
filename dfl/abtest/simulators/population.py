"""`Population`: people with both potential outcomes, and the interface of their laws."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias, final

import numpy as np

from dfl.abtest.rows.experiment import Experiment
from dfl.checks import check_count, check_number
from dfl.stats.arrays import Booleans, Matrix, Vector

__all__ = ["AbstractDesign", "Pair", "Population"]


Pair: TypeAlias = tuple[Vector, Vector]  # under control, under treatment


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Population:
    """People with both potential outcomes.

    Args:
        covariates: shape ``(N, p)``.
        outcome: metric under control and under treatment, each of shape ``(N,)``.
        denominator: of a ratio metric, likewise, or None.
        lift: effect on each person's metric that enters the mean effect, 0 for outliers. Shape
            ``(N,)``.
        outlier: whose metric or denominator was replaced by an outlier. Shape ``(N,)``.
        oracle: mean of the metric under control given the covariates, the best prediction that
            data from before the experiment can give. Shape ``(N,)``.
    """

    covariates: Matrix
    outcome: Pair
    denominator: Pair | None
    lift: Vector
    outlier: Booleans
    oracle: Vector

    @cached_property
    def effect(self) -> float:
        """Mean effect, outliers included: the recorded lift, or the difference of ratios."""
        return self._effect_among(np.ones(len(self.lift), dtype=np.bool_))

    @cached_property
    def bulk_effect(self) -> float:
        """The same without outliers: what a robust estimator is after."""
        return self._effect_among(~self.outlier)

    @cached_property
    def label(self) -> Vector:
        """Mean of both potential outcomes, linearised for a ratio; only a simulator has it."""
        numerator = (self.outcome[0] + self.outcome[1]) / 2
        if self.denominator is None:
            return numerator
        denominator = (self.denominator[0] + self.denominator[1]) / 2
        ratio = numerator.sum() / denominator.sum()
        label: Vector = (numerator - ratio * denominator) / denominator.mean()
        return label

    def experiment(
        self, rows: int, *, generator: np.random.Generator, prediction: Vector | None = None
    ) -> Experiment:
        """Draw people without replacement and toss a fair coin for each.

        Args:
            rows: number of people, at most N.
            generator: of people and coins.
            prediction: of everyone in the population, to be taken along. Shape ``(N,)``.

        Raises:
            InvalidValueError: if there are not so many people, or ``rows`` is no whole number.
        """
        check_count("rows", rows, at_least=1)
        check_number("rows", rows, at_least=1, at_most=len(self.lift))
        people = generator.choice(len(self.lift), rows, replace=False, shuffle=False)
        treated = generator.random(rows) < 0.5

        def seen(pair: Pair) -> Vector:
            return np.where(treated, pair[1][people], pair[0][people])

        return Experiment(
            treatment=treated.astype(np.int64),
            metric=seen(self.outcome),
            denominator=None if self.denominator is None else seen(self.denominator),
            covariates=self.covariates[people],
            prediction=None if prediction is None else prediction[people],
        )

    def _effect_among(self, people: Booleans) -> float:
        if self.denominator is None:
            return float(self.lift[people].mean())
        control, treated = (
            float(numerator[people].sum() / denominator[people].sum())
            for numerator, denominator in zip(self.outcome, self.denominator, strict=True)
        )
        return treated - control


class AbstractDesign(ABC):
    """A law of people."""

    @abstractmethod
    def draw(self, people: int, *, generator: np.random.Generator) -> Population:
        """Draw a population.

        Args:
            people: its size, >= 1.
            generator: of everything in it.

        Raises:
            InvalidValueError: if ``people`` is no whole number above 0.
        """
