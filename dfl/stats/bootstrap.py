"""`Bootstrap`: draws rows again with replacement; `Estimate`: a number and how sure it is."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfl.checks import check_count
from dfl.errors import InvalidValueError
from dfl.stats.arrays import Counts, Integers
from dfl.stats.intervals import interval_factor

__all__ = ["DEFAULT_BOOTSTRAP", "Bootstrap", "Estimate", "summarise"]

_TRIES = 1000  # for a draw with every treatment; where one in 100 has them, 1 in 20,000 ends so
_NEVER_MISSED = 50  # a treatment in so many units misses a draw with probability below 1e-21


@final
@dataclass(frozen=True, eq=False)
class Estimate:
    """A number estimated from logs, with its bootstrap error.

    Args:
        value: estimate on the rows as they are; its unit is that of the metric.
        standard_error: standard deviation over the bootstrap draws, same unit.
        low: ``value - z * standard_error``, ``z`` from the normal distribution at the level.
        high: ``value + z * standard_error``.
        draws: the metric in each draw, float64, for pairing and for other intervals. Shape
            ``(draws,)``.
        rows_key: fingerprint of rows and draws; two estimates can be paired if it is equal.
    """

    value: float
    standard_error: float
    low: float
    high: float
    draws: Tensor
    rows_key: int


def summarise(value: float, draws: Tensor, level: float, rows_key: int) -> Estimate:
    """Put a value and its draws together, with a normal interval.

    Args:
        value: the metric on the rows as they are.
        draws: the metric in each draw. Shape ``(draws,)``.
        level: confidence level, in (0, 1).
        rows_key: what `Bootstrap.rows_key` returned for these rows.
    """
    error = float(draws.std())
    reach = interval_factor(level) * error
    return Estimate(value, error, value - reach, value + reach, draws, rows_key)


@final
@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """How rows are drawn again: N rows (or all groups) with replacement, many times.

    Where rows have groups, whole groups are drawn, so rows of one household or shop may depend
    on each other. A draw in which a treatment has no row is drawn again: no metric is
    defined there. Intervals are normal, ``value +- z * standard_error``: with a few hundred
    draws they are steadier than percentiles. The same seed and rows give the same draws to
    every metric and model, which is what pairing needs.

    Args:
        draws: number of draws, >= 2. The standard error itself is then known to about
            ``1 / sqrt(2 * draws)`` of its size.
        level: confidence level of the intervals, in (0, 1).
        seed: of the draws.

    Raises:
        InvalidValueError: if ``draws`` or ``level`` is out of range.

    Source:
        Efron (1979), doi:10.1214/aos/1176344552; groups: Field and Welsh (2007),
        doi:10.1111/j.1467-9868.2007.00593.x.
    """

    draws: int = 200
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_count("draws", self.draws, at_least=2)
        check_count("seed", self.seed, at_least=0)
        interval_factor(self.level)

    def counts(
        self, treatment: Integers, *, arms: int, groups: Integers | None = None
    ) -> Iterator[Counts]:
        """Yield, draw by draw, how often each row was drawn.

        Args:
            treatment: of each row, in ``0 .. arms - 1``. Shape ``(N,)``.
            arms: number of treatments.
            groups: rows of one number are drawn together, or None. Shape ``(N,)``.

        Yields:
            int16 counts, shape ``(N,)``, quicker to gather than wider ones.

        Raises:
            InvalidValueError: if a treatment occurs in one row or group only: its error
                cannot be estimated; or if so many are so rare that no draw has them all.
        """
        units = _Units.of(treatment, arms, groups)
        units.check()
        generator = np.random.default_rng(self.seed)
        for _ in range(self.draws):
            yield units.draw(generator)

    def estimate(self, value: float, draws: Sequence[float], rows_key: int) -> Estimate:
        """Put a value and its draws together.

        Args:
            value: the metric on the rows as they are.
            draws: the metric in each draw.
            rows_key: what `rows_key` returned for these rows.
        """
        return summarise(value, torch.tensor(draws, dtype=torch.float64), self.level, rows_key)

    def rows_key(self, columns: Iterable[NDArray[Any]], rows: int) -> int:
        """Return a fingerprint of rows and of how they are drawn again.

        Args:
            columns: what tells the rows from others.
            rows: their number.
        """
        key = zlib.crc32(f"{self.seed} {self.draws} {rows}".encode())
        for column in columns:
            key = zlib.crc32(np.ascontiguousarray(column).data, key)
        return key


@final
@dataclass(frozen=True, eq=False)
class _Units:
    """What is drawn: rows, or whole groups."""

    number: int
    group: Integers | None  # of each row, numbered 0, 1, ...; None where rows are drawn
    treatment: Integers
    per_arm: Integers  # rows or groups in which each treatment occurs

    @classmethod
    def of(cls, treatment: Integers, arms: int, groups: Integers | None) -> "_Units":
        if groups is None:
            return cls(len(treatment), None, treatment, np.bincount(treatment, minlength=arms))
        names, group = np.unique(groups, return_inverse=True)
        pairs = np.unique(group.reshape(-1) * arms + treatment)
        per_arm = np.bincount(pairs % arms, minlength=arms)
        return cls(len(names), group.reshape(-1), treatment, per_arm)

    def check(self) -> None:
        if self.per_arm.min() < 2:
            raise InvalidValueError(
                "the bootstrap needs every treatment in at least 2 rows or groups, got treatment "
                f"{int(self.per_arm.argmin())} in {int(self.per_arm.min())}; leave the treatment "
                "out or take more rows."
            )

    def draw(self, generator: np.random.Generator) -> Counts:
        """Return how often each row comes, with every treatment present."""
        for _ in range(_TRIES):
            picked = generator.integers(0, self.number, self.number)
            counts = np.bincount(picked, minlength=self.number).astype(np.int16)
            if self.group is not None:
                counts = counts[self.group]
            if self._every_arm_in(counts):
                return counts
        rarest = np.argsort(self.per_arm, kind="stable")[:5]
        raise InvalidValueError(
            f"the bootstrap needs draws with every treatment, {_TRIES} in turn lacked one; the "
            f"rarest are treatments {', '.join(map(str, rarest))}, in "
            f"{', '.join(map(str, self.per_arm[rarest]))} rows or groups: merge or leave out rare "
            "treatments, or take more rows."
        )

    def _every_arm_in(self, counts: Counts) -> bool:
        if self.per_arm.min() >= _NEVER_MISSED:
            return True
        drawn = np.bincount(self.treatment, weights=counts, minlength=len(self.per_arm))
        return bool(drawn.min() > 0)


DEFAULT_BOOTSTRAP = Bootstrap()
