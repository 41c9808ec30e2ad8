"""Every registered method learns in two processes what it learns in one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from dfl.hypergrad import HYPERGRADIENTS, AbstractHypergradient
from dfl.layers import Interpolation, Quadratic, Softmax
from dfl.layers.pricing.options import Price
from dfl.losses import PrimalPolicy
from dfl.methods import AbstractMethod, BilevelSettings, Dfcl
from dfl.scale import joined
from tests.contract.test_methods import NAMES, TRAINING, make
from tests.methods.toy import logs
from tests.scale.in_processes import run_in_processes

DOUBLE = torch.float64
OFTEN = BilevelSettings(hidden=(4,), batch_size=128, warm_epochs=0, every=1)


def by_loss(layer: Any, **options: Any) -> Callable[[], AbstractMethod]:
    """Return `Dfcl` with a layer that solves, in the loss or in its gradient."""
    return lambda: replace(make("dfcl"), loss=PrimalPolicy(layer=layer), **options)  # type: ignore[type-var]


def hypergradient(name: str) -> AbstractHypergradient:
    given = {
        "truncated": {"last": 1, "steps": 2},
        "nystrom": {"rank": 3},
        # Twenty on so few rows make 1e-4 out of a rounding error, in one process, too.
        "gauss-newton": {"max_iter": 10},
    }.get(name, {})
    lenient = {} if name == "identity" else {"on_failure": "return"}
    return HYPERGRADIENTS.make(name, **given, **lenient)


def bilevel(name: str) -> Callable[[], AbstractMethod]:
    """Return `BiDfcl` with an upper step before every lower one, by a hypergradient."""
    return lambda: replace(make("bi-dfcl"), hypergrad=hypergradient(name), upper=OFTEN)  # type: ignore[type-var]


MORE: dict[str, Callable[[], AbstractMethod]] = {
    "price of each batch": by_loss(Softmax(), price="batch"),
    "quadratic": by_loss(Quadratic()),
    "interpolation": by_loss(Interpolation(), price="batch"),
    "doubly robust": lambda: Dfcl(
        network=make("dfcl").network,  # type: ignore[attr-defined]
        training=TRAINING,
        loss=PrimalPolicy(layer=Softmax(price=Price(multiplier=0.5)), estimator="doubly-robust"),
    ),
    "several decays": lambda: make("tsm-sl", replace(TRAINING, weight_decay=(0.1, 1.0))),
    "few rows": lambda: make("tsm-sl", replace(TRAINING, batch_size=1)),
    **{f"bi-dfcl, {name}": bilevel(name) for name in HYPERGRADIENTS.names()},
}
CASES = [*NAMES, *MORE]


def learned() -> dict[str, list[float]]:
    """Return what each case predicts, and how each went."""
    found = {}
    with joined(same_rows=True):
        for name in CASES:
            method = MORE[name]() if name in MORE else make(name)
            model = method.fit(
                rct=logs(130, seed=1, dtype=DOUBLE),
                obs=logs(131, source="obs", seed=2, dtype=DOUBLE),
                validation=logs(77, seed=3, dtype=DOUBLE),
            )
            one = model.predict(logs(50, seed=4, dtype=DOUBLE).features)
            history = [
                value
                for epochs in model.history.values()
                for log in epochs
                for value in log.values()
            ]
            found[name] = [*one.revenue.flatten().tolist(), *one.cost.flatten().tolist(), *history]
    return found


PROGRAM = """
import json, warnings
from tests.contract.test_methods_in_processes import learned
warnings.simplefilter("ignore")
print(json.dumps(learned()))
"""


@pytest.fixture(scope="module")
def models() -> list[dict[str, list[float]]]:
    """By one process, and by each of two."""
    return [one for count in (1, 2) for one in run_in_processes(PROGRAM, processes=count)]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_learn_what_one_learns(
    name: str, models: list[dict[str, list[float]]]
) -> None:
    alone, *both = (torch.tensor(one[name], dtype=DOUBLE) for one in models)
    assert both[0].equal(both[1])
    torch.testing.assert_close(both[0], alone, rtol=1e-10, atol=1e-10)
