"""Torch's default dtype changes neither people nor networks nor losses."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from dfl.data import (
    AbstractDataSource,
    Bias,
    CouponSimulator,
    CriteoLikeSimulator,
    HybridRecipe,
    PartSizes,
    SimulatedExperiment,
    load,
)
from dfl.losses import LOSSES
from dfl.methods import Training, TsmSl
from dfl.models import MLP, AbstractArchitecture, ArmHeads
from tests.contract.test_losses import BUDGET, make, problem
from tests.methods.toy import logs

SIZES = PartSizes(rct=300, obs=400, validation=200, test=300)
TRAINING = Training(epochs=1, batch_size=64, min_steps=1, members=2, weight_decay=(0.1,))
HIDDEN = ("multiplicative", "additive", "dose-free", "cost")

SOURCES: dict[str, AbstractDataSource] = {
    "coupon": CouponSimulator(sizes=SIZES, known_propensity=True),
    **{
        f"coupon, {kind}": CouponSimulator(sizes=SIZES, hidden_confounding=0.5, hidden_kind=kind)
        for kind in HIDDEN
    },
    "coupon, a region": CouponSimulator(sizes=SIZES, hidden_confounding=0.5, hidden_region=0.5),
    "coupon, unordered": CouponSimulator(sizes=SIZES, ordered=False, overlap=False),
    "coupon, alike": CouponSimulator(sizes=SIZES, alike=True, handling=10, noise=0.5),
    "criteo-like": CriteoLikeSimulator(
        sizes=PartSizes(rct=3_000, obs=3_000, validation=3_000, test=3_000)
    ),
    "experiment": SimulatedExperiment(
        simulator=CouponSimulator(), rows=3_000, recipe=HybridRecipe(known_propensity=True)
    ),
    "biased experiment": SimulatedExperiment(
        simulator=CouponSimulator(), rows=3_000, recipe=HybridRecipe(bias=Bias(feature="x0"))
    ),
}

Both = Callable[[Callable[[], Any]], tuple[Any, Any]]


@pytest.fixture
def both() -> Iterator[Both]:
    """Does something under float32 and under float64."""
    usual = torch.get_default_dtype()

    def under(dtype: torch.dtype, make: Callable[[], Any]) -> Any:
        torch.set_default_dtype(dtype)
        return make()

    yield lambda make: (under(torch.float32, make), under(torch.float64, make))
    torch.set_default_dtype(usual)


def same(one: Any, other: Any) -> None:
    """Compare tensors and what holds them, to the last bit."""
    for field in fields(one):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if isinstance(left, Tensor):
            assert left.dtype == right.dtype
            assert torch.equal(left, right), field.name
        elif hasattr(left, "__dataclass_fields__"):
            same(left, right)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_a_seed_draws_the_same_people(source: AbstractDataSource, both: Both) -> None:
    one, other = both(lambda: source.hybrid(0))
    same(one, other)
    assert {one.rct.features.dtype, one.rct.revenue.dtype, one.rct.cost.dtype} == {torch.float32}


def test_a_table_is_the_same_rows(both: Both) -> None:
    draw = np.random.default_rng(0)
    table = pd.DataFrame({"x": draw.normal(size=90), "arm": np.arange(90) // 3 % 2, "y": 1.5})
    cost: dict[Any, float] = {0: 0, 1: 0.1}
    one, other = both(lambda: load(table, treatment="arm", revenue="y", cost=cost).data)
    same(one, other)
    assert one.cost.dtype == torch.float32


@pytest.mark.parametrize("network", [MLP((8,)), ArmHeads((8,), (4,))], ids=["MLP", "ArmHeads"])
@pytest.mark.parametrize("rows", [torch.float32, torch.float64])
def test_a_seed_trains_the_same_networks(
    network: AbstractArchitecture, rows: torch.dtype, both: Both
) -> None:
    parts = {part: logs(128, seed=seed, dtype=rows) for seed, part in enumerate(("rct", "test"))}
    method = TsmSl(network=network, training=TRAINING)
    obs = logs(128, source="obs", seed=2, dtype=rows)
    one, other = both(lambda: method.fit(**{"rct": parts["rct"]}, obs=obs, seed=0))
    same(*(model.predict(parts["test"].features) for model in (one, other)))


@pytest.mark.parametrize("name", LOSSES.names())
def test_a_loss_is_the_same_number(name: str, dtype: torch.dtype, both: Both) -> None:
    revenue, cost, batch = problem(dtype)
    one, other = both(lambda: make(name)(1.1 * revenue, cost, batch, BUDGET))
    assert one.dtype == other.dtype == dtype
    assert torch.equal(one, other)
