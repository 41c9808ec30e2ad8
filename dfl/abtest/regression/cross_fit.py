"""`CrossFit`: predicts every row by a model that has not seen it."""

from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np

from dfl.checks import check_count
from dfl.errors import InvalidValueError
from dfl.stats.arrays import Booleans, Integers, Matrix, Vector

__all__ = ["CrossFit", "Regressor"]


# Kept apart from a user's own default_rng(seed), which may have drawn the arms: folds that repeat
# the arms would be useless.
_STREAM = 20_160_731


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
    covariates are. Rows of one cluster stay in one part.

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
    ) -> Vector:
        """Return an out-of-fold prediction of every row.

        Args:
            covariates: features. Shape ``(n, p)``.
            label: what is predicted. Shape ``(n,)``.
            clusters: number 0, 1, ... of the unit of each row, or None. Shape ``(n,)``.
            learn_from: rows that models may learn from, such as one arm; None: all.

        Raises:
            InvalidValueError: if a model would have less than 2 rows to learn from, or
                predicts something that is not finite.
        """
        fold = self._fold_of_rows(len(label), clusters)
        prediction = np.empty(len(label))
        for number in range(self.folds):
            held_out = fold == number
            rows = ~held_out if learn_from is None else ~held_out & learn_from
            if int(rows.sum()) < 2:
                raise InvalidValueError(
                    f"cross-fitting needs at least 2 rows to learn from in each fold, got "
                    f"{int(rows.sum())}; take more rows or fewer folds."
                )
            model = self._new_regressor()
            model.fit(covariates[rows], label[rows])
            prediction[held_out] = np.asarray(model.predict(covariates[held_out])).reshape(-1)
        if not np.isfinite(prediction).all():
            raise InvalidValueError("regressor must predict finite numbers, it did not.")
        return prediction

    def _fold_of_rows(self, rows: int, clusters: Integers | None) -> Integers:
        """Return the part of each row; parts are of equal size, in rows or in clusters."""
        units = rows if clusters is None else int(clusters.max()) + 1
        generator = np.random.default_rng((_STREAM, self.seed))
        fold = generator.permutation(np.arange(units) % self.folds)
        return fold if clusters is None else fold[clusters]

    def _new_regressor(self) -> Regressor:
        # Imported here as it takes longer than all of the rest together.
        from sklearn.base import clone
        from sklearn.ensemble import HistGradientBoostingRegressor

        if self.regressor is None:
            default: Regressor = HistGradientBoostingRegressor(random_state=self.seed)
            return default
        copy: Regressor = clone(self.regressor)
        return copy
