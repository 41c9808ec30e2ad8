"""`Folds`: the training rows of a set in parts, each of which one network does without."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from dfl.data.uplift_data import UpliftData, people_of
from dfl.seeds import stream
from dfl.training.settings import Part, TrainingSet

__all__ = ["Folds"]


@final
@dataclass(frozen=True, eq=False)
class Folds:
    """Rows of a training set by fold; people, or other groups, are never torn apart.

    Args:
        one: the set.
        of_part: fold of each row of the parts that are there, ``(N,)``; -1 for rows that stay in
            every training set, because a treatment would be missing from it without them.
    """

    one: TrainingSet
    of_part: Mapping[Part, Tensor]

    @staticmethod
    def of(one: TrainingSet, count: int) -> "Folds":
        """Draw folds of equal size, in each part, by the set's seed.

        Args:
            one: the set; its validation rows are left alone.
            count: number of folds, >= 2.
        """
        parts: dict[Part, UpliftData] = {}
        if one.rct is not None:
            parts["rct"] = one.rct
        if one.obs is not None:
            parts["obs"] = one.obs
        lengths = [len(part) for part in parts.values()]
        people, person = torch.unique(people_of(list(parts.values())), return_inverse=True)
        part = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
        first = torch.full_like(people, len(lengths)).scatter_reduce(0, person, part, "amin")
        drawn = torch.randperm(len(people), generator=stream(one.seed, "folds"))
        place = (first * len(people) + drawn).argsort().argsort()
        fold = place % count
        treatment = torch.cat([rows.treatment.cpu() for rows in parts.values()])
        for number in range(len(lengths)):
            for arm in range(next(iter(parts.values())).treatments):
                own = person[(part == number) & (treatment == arm)]
                if bool((fold[own] == fold[own[0]]).all()):
                    fold[own[0]] = -1
        rows = torch.split(fold[person], lengths)
        return Folds(
            one,
            {
                name: own.to(parts[name].features.device)
                for name, own in zip(parts, rows, strict=True)
            },
        )

    def without(self, number: int) -> TrainingSet:
        """Return the set without a fold, with a seed of its own."""
        kept = {
            name: getattr(self.one, name).subset(fold != number)
            for name, fold in self.of_part.items()
        }
        seed = stream(self.one.seed, "fold", number).initial_seed()
        return replace(self.one, **kept, seed=seed)
