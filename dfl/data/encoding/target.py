"""`TargetColumn`: many categories as one number, the revenue that goes with each."""

from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from dfl.data.encoding.base import refuse_missing
from dfl.data.encoding.labels import AbstractLabelColumn, categories_of
from dfl.data.uplift_data import UpliftData, people_of
from dfl.frames import Column

__all__ = ["TargetColumn"]

_MISSING = "(missing)"
_FOLDS = 5


@final
@dataclass(frozen=True)
class TargetColumn(AbstractLabelColumn):
    """Replaces a category by the mean revenue of its training rows, shrunk to that of all.

    Before `learn` has seen which rows train, the feature is the number of the category, and
    -1 for any that is not among them.

    Args:
        name: column of the table.
        text: as `AbstractLabelColumn`.
        categories: the values that training may meet.
        impute: whether values may be missing; they are then a category.
        values: mean revenue of each category, in currency, or empty before `learn`.
        mean: mean revenue of all training rows, which a new category gets.

    Source:
        Micci-Barreca (2001), doi:10.1145/507533.507538, as `sklearn.preprocessing.TargetEncoder`
        with its own smoothing. Training rows get the values of folds that they are not in, nor
        any other row of their group.
    """

    categories: tuple[str, ...] = ()
    impute: bool = False
    values: tuple[float, ...] = ()
    mean: float = 0.0

    @staticmethod
    def fit(column: Column, *, impute: bool) -> "TargetColumn":
        """Note the categories.

        Raises:
            DataError: if the column does not hold categories.
        """
        gaps = (_MISSING,) if impute else ()
        known = (*categories_of(column).labels, *gaps)
        return TargetColumn(column.name, known, impute, text=column.is_text)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """``name``."""
        return (self.name,)

    def encode(self, column: Column) -> NDArray[Any]:
        """Return the revenue of each row's category, or its number."""
        factor = self.labels(column)
        missing = factor.codes < 0
        if not self.impute:
            refuse_missing(self.name, missing)
        places = factor.places_in(self.categories)
        places[missing] = len(self.categories) - 1
        found = np.array([*self.values, self.mean])[places] if self.values else places
        return found[:, None].astype(np.float32)

    def learn(
        self, training: list[UpliftData], others: list[UpliftData], place: int, *, seed: int
    ) -> tuple["TargetColumn", list[UpliftData]]:
        """Learn from the training parts, and put revenue in the place of numbers.

        Args:
            training: parts from which to learn.
            others: parts in which only numbers are replaced.
            place: of the feature.
            seed: of the folds.

        Returns:
            The column with its values, and all parts in the order given.
        """
        from sklearn.preprocessing import TargetEncoder

        codes = [_codes(part, place) for part in (*training, *others)]
        revenue = torch.cat([part.revenue for part in training]).double().numpy()
        known = np.concatenate(codes[: len(training)])
        folded = np.full(len(known), revenue.mean())
        for unseen in _folds(training, seed):
            seen = ~unseen
            encoder = TargetEncoder(target_type="continuous").fit(known[seen], revenue[seen])
            folded[unseen] = encoder.transform(known[unseen])[:, 0]
        encoder = TargetEncoder(target_type="continuous").fit(known, revenue)
        table = np.full(len(self.categories), float(encoder.target_mean_))
        table[encoder.categories_[0].astype(int)] = encoder.encodings_[0]
        fitted = replace(self, values=tuple(table.tolist()), mean=float(encoder.target_mean_))
        found = [*np.split(folded, np.cumsum([len(one) for one in codes[: len(training)]])[:-1])]
        table = np.append(table, fitted.mean)  # what -1 stands for, a category of no training row
        found += [table[one[:, 0].astype(int)] for one in codes[len(training) :]]
        parts = (*training, *others)
        return fitted, [_put(part, place, new) for part, new in zip(parts, found, strict=True)]


def _folds(training: list[UpliftData], seed: int) -> list[NDArray[np.bool_]]:
    """Return which rows each fold holds, those of a group in one; none where one group is all."""
    from sklearn.model_selection import KFold

    person = torch.unique(people_of(training), return_inverse=True)[1].numpy()
    people = int(person.max()) + 1
    if people < 2:
        return []
    folds = KFold(min(_FOLDS, people), shuffle=True, random_state=seed)
    place = np.empty(people, np.int64)
    for fold, (_, held) in enumerate(folds.split(place)):
        place[held] = fold
    return [place[person] == fold for fold in range(folds.n_splits)]


def _codes(part: UpliftData, place: int) -> NDArray[np.float64]:
    return part.features[:, place : place + 1].double().numpy()


def _put(part: UpliftData, place: int, values: NDArray[np.float64]) -> UpliftData:
    features = part.features.clone()
    features[:, place] = torch.from_numpy(values).to(features)
    return replace(part, features=features)
