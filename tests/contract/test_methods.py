"""What every registered method promises."""

import inspect
import pkgutil
from importlib import import_module

import pytest
import torch
from torch.testing import assert_close

import dfl.methods
from dfl.budget import Budget
from dfl.methods import METHODS, AbstractMethod, FittedModel, Training
from dfl.models import MLP
from tests.methods.toy import logs

NAMES = METHODS.names()
TRAINING = Training(epochs=2, batch_size=64, min_steps=1, members=2, weight_decay=(0.1,))


def fit(name: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> FittedModel:
    method = METHODS.load(name)(network=MLP((8,)), training=TRAINING)  # type: ignore[call-arg]
    return method.fit(
        rct=logs(512, seed=1, dtype=dtype),
        obs=logs(512, source="obs", seed=2, dtype=dtype),
        validation=logs(256, seed=3, dtype=dtype),
        seed=seed,
    )


@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_finite_costs_not_negative_and_dtype_kept(
    name: str, dtype: torch.dtype
) -> None:
    prediction = fit(name, dtype).predict(logs(100, seed=4, dtype=dtype).features)
    for column in (prediction.revenue, prediction.cost):
        assert column.shape == (100, 3)
        assert column.dtype == dtype
        assert bool(column.isfinite().all())
    assert bool((prediction.cost >= 0).all())


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_everything(name: str) -> None:
    torch.manual_seed(1)
    first = fit(name).parameters
    torch.manual_seed(2)
    assert_close(first, fit(name).parameters, rtol=0, atol=0)
    other = fit(name, seed=1).parameters
    assert any(not torch.equal(value, other[key]) for key, value in first.items())


@pytest.mark.parametrize("name", NAMES)
def test_the_global_generator_is_left_alone(name: str) -> None:
    before = torch.get_rng_state()
    fit(name)
    assert_close(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", NAMES)
def test_allocations_are_feasible(name: str) -> None:
    features = logs(100, seed=4).features
    model = fit(name)
    allocation = model.allocate(features, Budget(per_head=0.3))
    assert float(allocation.cost) <= 30 * (1 + 1e-9)
    assert float(allocation.revenue) <= float(allocation.upper_bound) + 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_untouched(name: str) -> None:
    rct, kept = logs(512, seed=1), logs(512, seed=1)
    method = METHODS.load(name)(network=MLP((8,)), training=TRAINING)  # type: ignore[call-arg]
    method.fit(rct=rct, obs=logs(512, source="obs", seed=2), validation=logs(256, seed=3))
    assert_close(rct.features, kept.features, rtol=0, atol=0)
    assert_close(rct.revenue, kept.revenue, rtol=0, atol=0)


def test_the_table_is_complete() -> None:
    found = set()
    for module in pkgutil.iter_modules(dfl.methods.__path__, "dfl.methods."):
        for _, member in inspect.getmembers(import_module(module.name), inspect.isclass):
            if issubclass(member, AbstractMethod) and member is not AbstractMethod:
                found.add(member)
    assert found == {METHODS.load(name) for name in NAMES}
