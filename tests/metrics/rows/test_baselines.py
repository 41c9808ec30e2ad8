from typing import Any

import numpy as np
import pytest

from dfl.metrics.rows.baselines import _PENALTIES, cross_fitted


def world(rows: int = 60, arms: int = 3, features: int = 4, seed: int = 0) -> tuple[Any, ...]:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, features)) * 10.0 ** np.arange(features)
    treatment = np.arange(rows) % arms
    y = 2 * treatment + x @ (0.5 / 10.0 ** np.arange(features)) + draw.normal(size=rows)
    return x, treatment, y


def plain_fit(
    x: np.ndarray, treatment: np.ndarray, y: np.ndarray, arms: int, spread: np.ndarray, ridge: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ridge with a free level per treatment, by least squares on stacked rows."""
    levels = np.eye(arms)[treatment]
    penalty = np.diag(np.append(np.zeros(arms), np.full(x.shape[1], ridge) * spread**2))
    design = np.hstack([levels, x])
    both = np.linalg.solve(design.T @ design + penalty, design.T @ y)
    return both[:arms], both[arms:]


def test_each_row_is_predicted_as_if_the_fit_had_never_seen_it() -> None:
    x, treatment, y = world()
    found = cross_fitted(x, treatment, y[None], 3, None)[0]
    centred = x - np.stack([x[treatment == arm].mean(0) for arm in range(3)])[treatment]
    spread, everyone = np.sqrt((centred**2).mean(0)), np.arange(60)
    by_penalty = []
    for penalty in _PENALTIES[:-1]:
        by_hand = np.empty((60, 3))
        for one in everyone:
            rest = everyone != one
            level, slopes = plain_fit(x[rest], treatment[rest], y[rest], 3, spread, 60 * penalty)
            by_hand[one] = level + x[one] @ slopes
        by_penalty.append(by_hand)
    errors = [((y - one[everyone, treatment]) ** 2).sum() for one in by_penalty]
    assert found == pytest.approx(by_penalty[int(np.argmin(errors))], rel=1e-6)


def test_features_that_say_nothing_leave_the_means_of_the_others() -> None:
    treatment = np.arange(12) % 2
    y = np.arange(12.0)
    found = cross_fitted(np.zeros((12, 1)), treatment, y[None], 2, None)[0]
    for row in range(12):
        for arm in range(2):
            others = (treatment == arm) & (np.arange(12) != row)
            assert found[row, arm] == pytest.approx(y[others].mean())
    without_any = cross_fitted(np.zeros((12, 0)), treatment, y[None], 2, None)[0]
    assert without_any == pytest.approx(found)


@pytest.mark.parametrize("constant", [0.1, 0.3, 1e6 + 0.1])
def test_a_constant_feature_changes_nothing_whichever_constant(constant: float) -> None:
    x, treatment, y = world()
    groups = np.arange(60) // 2
    by_arm = constant * np.array([1.0, 3.0, 7.0])[treatment]
    rounded = constant * (1 + 2e-16 * np.random.default_rng(0).normal(size=60))
    for number in (None, groups):
        without = cross_fitted(x, treatment, y[None], 3, number)
        for column in (np.full(60, constant), by_arm, rounded):
            found = cross_fitted(np.column_stack([x, column]), treatment, y[None], 3, number)
            assert found == pytest.approx(without, rel=1e-12, abs=1e-12)


def test_an_outcome_that_a_treatment_fixes_is_that_number() -> None:
    x, treatment, y = world()
    price = np.where(treatment == 2, y, np.array([0.1, 0.3, 0.0])[treatment])
    found = cross_fitted(x, treatment, price[None], 3, None)[0]
    assert set(found[:, 0]) == {0.1}
    assert set(found[:, 1]) == {0.3}
    alone = cross_fitted(x[treatment == 2], np.zeros(20, int), y[None, treatment == 2], 1, None)
    assert found[treatment == 2, 2] == pytest.approx(alone[0, :, 0])


@pytest.mark.parametrize("groups", [False, True])
def test_the_order_of_the_rows_does_not_matter(groups: bool) -> None:
    x, treatment, y = world(90)
    ids = np.arange(90) // 3 * 7 if groups else None
    order = np.random.default_rng(1).permutation(90)
    found = cross_fitted(x, treatment, y[None], 3, ids)[0]
    moved = cross_fitted(
        x[order], treatment[order], y[None, order], 3, None if ids is None else ids[order]
    )
    assert moved[0] == pytest.approx(found[order])


def test_no_row_of_a_group_sees_an_outcome_of_its_group() -> None:
    x, treatment, y = world(90)
    ids = np.arange(90) // 3
    changed = y + 1 * (ids == 4)  # so little that the penalty of the other folds stays
    before, after = (cross_fitted(x, treatment, one[None], 3, ids)[0] for one in (y, changed))
    assert after[ids == 4] == pytest.approx(before[ids == 4])
    assert after[ids == 5] != pytest.approx(before[ids == 5])


def test_a_constant_on_all_outcomes_is_added_to_all_predictions() -> None:
    x, treatment, y = world()
    found, moved = (cross_fitted(x, treatment, one[None], 3, None) for one in (y, y + 1e6))
    assert moved - 1e6 == pytest.approx(found, abs=1e-6)


def test_several_outcomes_are_fitted_each_for_itself() -> None:
    x, treatment, y = world()
    both = cross_fitted(x, treatment, np.stack([y, y**2]), 3, None)
    assert both[1] == pytest.approx(cross_fitted(x, treatment, (y**2)[None], 3, None)[0])


def test_a_treatment_that_one_row_received_has_that_row_to_go_by() -> None:
    x, treatment, y = world()
    treatment = np.where(np.arange(60) == 7, 2, treatment % 2)
    assert np.isfinite(cross_fitted(x, treatment, y[None], 3, None)).all()


def test_a_single_group_is_predicted_as_its_mean_and_its_list_prices() -> None:
    x, treatment, y = world()
    found = cross_fitted(x, treatment, np.stack([y, 5.0 * treatment]), 3, np.zeros(60, int))
    assert found[0] == pytest.approx(np.full((60, 3), y.mean()))
    assert (found[1] == [0, 5, 10]).all()


def test_groups_whose_ids_follow_the_treatments_are_valued_like_any_others() -> None:
    x, _, y = world(600, features=2)
    group = np.arange(600) // 3
    by_digit = (group % 10 == 0).astype(int)
    two_of_ten_apart = np.isin(group, (0, 10)).astype(int)
    one_alone = (group == 0).astype(int)
    for treatment in (by_digit, two_of_ten_apart, one_alone):
        outcomes = np.stack([y, 5.0 * treatment])
        found = cross_fitted(x, treatment, outcomes, 2, group)
        received = treatment == 1
        missed = outcomes - found[:, np.arange(600), treatment]
        value = found[:, :, 1].mean(axis=1) + missed[:, received].mean(axis=1)
        assert value[1] == 5
        error = y.std() / (received.sum() / 3) ** 0.5
        assert abs(value[0] - y[received].mean()) < error


def test_the_penalty_is_chosen_on_whole_groups_left_out() -> None:
    draw, groups = np.random.default_rng(0), 40
    group = np.repeat(np.arange(groups), 10)
    x = draw.normal(size=(groups, 30))[group]  # of the group, and without meaning
    y = draw.normal(size=groups)[group] + 0.1 * draw.normal(size=400)
    found = cross_fitted(x, group // 2 % 2, y[None], 2, group)[0]
    missed = y - found[np.arange(400), group // 2 % 2]
    assert missed.std() < 1.1 * y.std()
