"""`CrossFit`: predicts every row by a model that has not seen it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np

from dfl.checks import check_count
from dfl.errors import InvalidValueError
from dfl.scale import PARTS, Chunks, Empty
from dfl.stats.arrays import Booleans, Integers, Matrix, Vector

__all__ = ["CrossFit", "Regressor"]


# Kept apart from a user's own default_rng(seed), which may have drawn the arms: folds that repeat
# the arms would be useless.
_STREAM = 20_160_731
_DEALT = Chunks(1 << 20)  # units that are shuffled at once, rows that are predicted at once
_LEARNT = 1 << 20  # rows that a model learns from at most


class Regressor(Protocol):
    """What of scikit-learn's interface is used."""

    def fit(self, X: Any, y: Any) -> Any:  # noqa: N803  # scikit-learn's name
        """Learn to predict ``y`` from ``X``."""

    def predict(self, X: Any) -> Any:  # noqa: N803  # scikit-learn's name
        """Predict the rows of ``X``."""


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class CrossFit:
    """Splits the rows at random and predicts each part by a model of the others.

    The treatment is never a feature, so the prediction is known before it, as far as the
    covariates are. Rows of one cluster stay in one part. Of more than 1,048,576 rows that a model
    could learn from it takes every k-th, so many at most.

    Args:
        regressor: any regressor of scikit-learn, copied and never changed; None:
            ``HistGradientBoostingRegressor`` with its defaults.
        folds: number of parts, >= 2.
        seed: of the split and of the default regressor.

    Raises:
        InvalidValueError: if ``folds`` is below 2.

    Source:
        Guo et al. (2021), arXiv:2106.07263, Algorithm 1.
    """

    regressor: Regressor | None = None
    folds: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the number of folds, and the seed."""
        check_count("folds", self.folds, at_least=2)
        check_count("seed", self.seed, at_least=0)

    def predict(
        self,
        covariates: Matrix,
        label: Vector,
        *,
        clusters: Integers | None = None,
        learn_from: Booleans | None = None,
        empty: Empty = np.empty,
    ) -> Vector:
        """Return an out-of-fold prediction of every row.

        Args:
            covariates: features. Shape ``(n, p)``.
            label: what is predicted. Shape ``(n,)``.
            clusters: number 0, 1, ... of the unit of each row, or None. Shape ``(n,)``.
            learn_from: rows that models may learn from, such as one arm; None: all.
            empty: makes the array that is returned.

        Raises:
            InvalidValueError: if a model would have less than 2 rows to learn from, or
                predicts something that is not finite.
        """
        fold = self._fold_of_rows(len(label), clusters, empty)
        prediction: Vector = empty(len(label))
        for number in range(self.folds):
            rows = self._learnt(fold, number, learn_from)
            if len(rows) < 2:
                raise InvalidValueError(
                    f"cross-fitting needs at least 2 rows to learn from in each fold, got "
                    f"{len(rows)}; take more rows or fewer folds."
                )
            model = self._new_regressor()
            model.fit(covariates[rows], label[rows])
            for part in _DEALT.of(len(label)):
                held_out = fold[part] == number
                if held_out.any():
                    found = np.asarray(model.predict(covariates[part][held_out])).reshape(-1)
                    if not np.isfinite(found).all():
                        raise InvalidValueError(
                            "regressor must predict finite numbers, it did not."
                        )
                    prediction[part][held_out] = found
        return prediction

    def _learnt(self, fold: Integers, number: int, learn_from: Booleans | None) -> Integers:
        """Return the places of the rows that the model of one part learns from."""

        def places() -> Iterator[Integers]:
            for part in PARTS.of(len(fold)):
                may = fold[part] != number
                yield np.flatnonzero(may if learn_from is None else may & learn_from[part])

        rows = sum(len(one) for one in places())
        step, start, seen = max(-(-rows // _LEARNT), 1), 0, 0
        found = np.empty(-(-rows // step), np.int64)
        for part, one in zip(PARTS.of(len(fold)), places(), strict=True):
            kept = one[-seen % step :: step] + part.start
            found[start : start + len(kept)] = kept
            start, seen = start + len(kept), seen + len(one)
        return found

    def _fold_of_rows(self, rows: int, clusters: Integers | None, empty: Empty) -> Integers:
        """Return the part of each row; parts are of equal size, in rows or in clusters."""
        units = rows if clusters is None else int(clusters.max()) + 1
        generator = np.random.default_rng((_STREAM, self.seed))
        fold: Integers = (empty if clusters is None else np.empty)(units, np.int64)
        for part in _DEALT.of(units):  # shuffled within, so that no array as long is needed
            fold[part] = generator.permutation(np.arange(part.start, part.stop) % self.folds)
        if clusters is None:
            return fold
        of_rows: Integers = empty(rows, np.int64)
        for part in PARTS.of(rows):
            of_rows[part] = fold[clusters[part]]
        return of_rows

    def _new_regressor(self) -> Regressor:
        # Imported here as it takes longer than all of the rest together.
        from sklearn.base import clone
        from sklearn.ensemble import HistGradientBoostingRegressor

        if self.regressor is None:
            default: Regressor = HistGradientBoostingRegressor(random_state=self.seed)
            return default
        copy: Regressor = clone(self.regressor)
        return copy
