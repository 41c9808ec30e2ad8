"""Folds: who learns without whom."""

from dataclasses import replace

import torch

from dfl.methods import TrainingSet
from dfl.training.folds import Folds
from tests.methods.toy import ARMS, logs

SET = TrainingSet(rct=logs(203, seed=1), obs=logs(401, source="obs", seed=2), seed=3)


def test_folds_have_equal_size_in_each_part_and_depend_on_the_seed() -> None:
    folds = Folds.of(SET, 5)
    for part in ("rct", "obs"):
        counts = folds.of_part[part].bincount()  # type: ignore[index]
        assert len(counts) == 5
        assert int(counts.max() - counts.min()) <= 1
    other = Folds.of(replace(SET, seed=4), 5)
    assert bool((folds.of_part["rct"] != other.of_part["rct"]).any())


def test_a_set_without_a_fold_lacks_it_alone_and_has_a_seed_of_its_own() -> None:
    folds = Folds.of(SET, 4)
    sets = [folds.without(number) for number in range(4)]
    assert len({one.seed for one in (SET, *sets)}) == 5
    for number, one in enumerate(sets):
        assert SET.rct is not None
        assert one.rct is not None
        kept = folds.of_part["rct"] != number
        assert torch.equal(one.rct.features, SET.rct.features[kept])
        assert one.validation is None


def test_rows_of_a_household_stay_together_across_parts() -> None:
    assert SET.rct is not None
    assert SET.obs is not None
    rct = replace(SET.rct, groups=torch.arange(203) // 3)
    obs = replace(SET.obs, groups=torch.arange(401) // 4)  # most ids are in both parts
    folds = Folds.of(replace(SET, rct=rct, obs=obs), 5)
    for group in range(68):
        own = [folds.of_part["rct"][rct.groups == group], folds.of_part["obs"][obs.groups == group]]
        assert len(torch.cat(own).unique()) == 1
    alone = Folds.of(replace(SET, rct=rct), 5)  # ids of one part say nothing of the other
    assert alone.of_part["obs"].bincount().max() <= 81


def test_no_treatment_is_lost_with_a_fold() -> None:
    assert SET.rct is not None
    for each in (1, 2, 3):
        rows = torch.cat(
            [(SET.rct.treatment == arm).nonzero()[:each].squeeze(1) for arm in range(ARMS)]
        )
        folds = Folds.of(TrainingSet(rct=SET.rct.subset(rows), seed=each), 3)
        assert all(len(folds.without(number).parts) == 1 for number in range(3))
        if each == 1:
            assert folds.of_part["rct"].tolist() == [-1] * ARMS
