"""Every registered method learns in two processes what it learns in one.

Once with all rows in both, and once with the first third of them in one, the others in the other;
the third treatment is in the latter alone, and so are no validation rows.
"""

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from dfl.data import UpliftData
from dfl.errors import UnsupportedProblemError
from dfl.hypergrad import HYPERGRADIENTS, AbstractHypergradient
from dfl.layers import Interpolation, Quadratic, Softmax
from dfl.layers.pricing.options import Price
from dfl.losses import CostSensitive, PrimalPolicy
from dfl.methods import AbstractMethod, BilevelSettings, Dfcl
from dfl.scale import joined, rank_of, rows_apart
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
    "ranks": lambda: make("tsm-sl", replace(TRAINING, ranks=True)),
    "households": bilevel("identity"),
    "validation rows learned": lambda: make("tsm-sl", replace(TRAINING, validation="learn")),
    **{f"bi-dfcl, {name}": bilevel(name) for name in HYPERGRADIENTS.names()},
}
CASES = [*NAMES, *MORE]
NEED_ALL = {
    *("grounded", "grounded-in-sample", "hrc", "policy-tree"),
    *("tsm-cf", "tsm-cf-obs", "tsm-cf-rct", "validation rows learned"),
}


def method_of(case: str) -> AbstractMethod:
    # The price of all rows lies where somebody is indifferent. Whoever asks on which side, is told
    # by rounding: 2e-16 in the features make 2e-3 of `dfcl-csr`, in one process, too.
    if case == "dfcl-csr":
        return replace(make(case), loss=CostSensitive(asymmetry=0))  # type: ignore[type-var]
    if case.endswith("-pifd"):
        return replace(make(case), price="batch")  # type: ignore[type-var]
    return MORE[case]() if case in MORE else make(case)


def cut(rows: UpliftData) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows of the first process, without the third treatment, and of the second."""
    first = (rows.treatment != 2).nonzero().flatten()[: len(rows) // 3]
    rest = torch.ones(len(rows), dtype=torch.bool).index_fill(0, first, False)
    return first, rest.nonzero().flatten()


def parts(case: str) -> dict[str, UpliftData | None]:
    """Return the rows of this process."""
    drawn = {
        "rct": logs(130, seed=1, dtype=DOUBLE),
        "obs": logs(131, source="obs", seed=2, dtype=DOUBLE),
    }
    if case == "households":
        drawn = {k: replace(v, groups=torch.arange(len(v)) % 45) for k, v in drawn.items()}
    whole = {name: rows.subset(torch.cat(cut(rows))) for name, rows in drawn.items()}
    validation = logs(77, seed=3, dtype=DOUBLE)
    if not rows_apart():
        return {**whole, "validation": validation}
    rank = rank_of()[0]
    own = {name: rows.subset(cut(rows)[rank]) for name, rows in drawn.items()}
    return {**own, "validation": None if rank else validation}


def learned(*, same_rows: bool) -> dict[str, list[float] | str]:
    """Return what each case predicts, and how each went."""
    found: dict[str, list[float] | str] = {}
    with joined(same_rows=same_rows), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in CASES:
            try:
                model = method_of(case).fit(**parts(case))
            except UnsupportedProblemError as error:
                found[case] = str(error)
                continue
            one = model.predict(logs(50, seed=4, dtype=DOUBLE).features)
            history = [
                value
                for epochs in model.history.values()
                for log in epochs
                for value in log.values()
            ]
            found[case] = [*one.revenue.flatten().tolist(), *one.cost.flatten().tolist(), *history]
    return found


PROGRAM = """
import json
from dfl.scale import joined
from tests.contract.test_methods_in_processes import learned
with joined():
    found = [learned(same_rows=True), learned(same_rows=False)]
print(json.dumps(found))
"""

Found = dict[str, list[float] | str]


@pytest.fixture(scope="module")
def alone() -> Found:
    found: Found = json.loads(json.dumps(learned(same_rows=True)))
    return found


@pytest.fixture(scope="module")
def shared() -> list[list[Found]]:
    """By each of two processes: with all rows in both, and with rows of their own."""
    return run_in_processes(PROGRAM)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("apart", [False, True], ids=["same rows", "own rows"])
def test_two_processes_learn_what_one_learns(
    case: str, apart: bool, alone: Found, shared: list[list[Found]]
) -> None:
    first, second = (found[apart][case] for found in shared)
    if apart and case in NEED_ALL:
        assert first == second
        assert "needs all rows in every process, and each was given rows of its own" in first
        assert "joined(same_rows=True)" in first
        return
    both = torch.tensor([first, second], dtype=DOUBLE)
    assert both[0].equal(both[1])
    expected = torch.tensor(alone[case], dtype=DOUBLE)
    torch.testing.assert_close(both[0], expected, rtol=1e-10, atol=1e-10)
