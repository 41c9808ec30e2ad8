import pytest
import torch

from dfl.budget import Budget
from dfl.data import CouponSimulator, PartSizes, UpliftData
from dfl.methods import Prediction
from dfl.pipeline.spend import spend_ratio
from dfl.solvers import GreedyDual


def rows(size: int = 20_000) -> UpliftData:
    sizes = PartSizes(rct=100, obs=100, validation=100, test=size)
    return CouponSimulator(sizes=sizes).hybrid(0).test


def ratio(data: UpliftData, cost: torch.Tensor, budget: Budget) -> dict[str, float]:
    assert data.truth is not None
    predicted = Prediction(data.truth.revenue, cost)
    found = spend_ratio(data, predicted, GreedyDual(), budget, 0.95)
    assert found is not None
    return found


def test_true_costs_are_spent_as_predicted() -> None:
    data = rows()
    assert data.truth is not None
    found = ratio(data, data.truth.cost, Budget(share=0.3))
    assert found["low"] < 1 < found["high"]
    assert found["standard_error"] < 0.06


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_costs_that_are_predicted_wrong_by_a_factor(factor: float) -> None:
    data = rows()
    assert data.truth is not None
    found = ratio(data, factor * data.truth.cost, Budget(share=0.3))
    assert found["value"] == pytest.approx(1 / factor, rel=0.1)


def test_choosing_by_noisy_costs_overspends() -> None:
    data = rows()
    assert data.truth is not None
    noise = torch.rand(data.truth.cost.shape, generator=torch.Generator().manual_seed(0)) + 0.5
    assert ratio(data, noise * data.truth.cost, Budget(share=0.3))["low"] > 1


def test_where_there_is_nothing_to_compare() -> None:
    data = rows(200)
    assert data.truth is not None
    cost = data.truth.cost
    for costs, budget in ((0 * cost, Budget(share=0.5)), (cost + 1, Budget(per_head=0.5))):
        predicted = Prediction(data.truth.revenue, costs)
        assert spend_ratio(data, predicted, GreedyDual(), budget, 0.95) is None
