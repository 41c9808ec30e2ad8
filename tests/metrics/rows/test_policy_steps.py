from dataclasses import replace

import numpy as np
import pytest
import torch

from dfl.metrics.rows.policy_steps import PolicySteps
from dfl.metrics.rows.randomised_rows import PolicyEstimator
from dfl.metrics.spend_curve import observed_curve


@pytest.mark.parametrize("known", [False, True])
def test_counting_a_row_twice_is_having_it_twice(simulate, predict, known: bool) -> None:
    data = simulate(90, known_propensity=known)
    revenue, cost = predict(data)
    counts = np.arange(90, dtype=np.int16) % 4
    twice = torch.arange(90).repeat_interleave(torch.from_numpy(counts.astype(np.int64)))
    raw: PolicyEstimator = "horvitz-thompson"  # the other one's predictions see the rows
    plateaus = PolicySteps.of(data, revenue, cost, raw).plateaus(counts)
    curve = observed_curve(data.subset(twice), revenue[twice], cost[twice], estimator=raw)
    for budget in (0.1, 0.5, 1.0, 9.0):
        (mix,), point = plateaus.mixes([budget]), curve.at(budget)
        assert (mix.cost, mix.cheapest) == pytest.approx((point.cost, point.mixed_with_cheapest))
        # Neighbours without a drawn row between them are one plateau of the other curve.
        assert mix.value == pytest.approx(point.value, abs=0.2)
    assert plateaus.cost[-1] == pytest.approx(float(curve.cost[-1]))
    assert plateaus.value[-1] == pytest.approx(float(curve.value[-1]))
    assert set(np.round(plateaus.value, 9)) >= set(np.round(curve.value.numpy(), 9))
    assert plateaus.cheapest_value == pytest.approx(curve.cheapest_value)


def test_the_cheapest_treatment_is_the_one_with_the_smallest_mean_cost(simulate, predict) -> None:
    data = simulate(90)
    assert PolicySteps.of(data, *predict(data), "doubly-robust").cheapest == 0
    upside_down = replace(data, cost=3 - data.cost)
    assert PolicySteps.of(upside_down, *predict(data), "doubly-robust").cheapest == 2
