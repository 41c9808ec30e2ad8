"""What two processes with rows of their own find is what one finds that has them all."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.data import UpliftData
from dfl.errors import DflError
from dfl.methods import METHODS
from dfl.models import MLP, Scaling
from dfl.problem import AllocationProblem, ObservedCost
from dfl.scale import gathered, joined, rank_of, rows_apart
from dfl.solvers.dual_bisection import DualBisection
from dfl.solvers.prices import shared_crossing
from dfl.training.decision_level import budget_per_head
from dfl.training.nuisance import folds_of
from dfl.training.rows import RowPool
from dfl.training.settings import TrainingSet, hold_out
from tests.methods.toy import SMALL, logs
from tests.scale.in_processes import run_in_processes

DOUBLE = torch.float64


def own(rows: UpliftData, first: int) -> UpliftData:
    """Return the first rows in the first process, the rest in the other; all in one alone."""
    if not rows_apart():
        return rows
    return rows.subset(torch.arange(first) if rank_of()[0] == 0 else torch.arange(first, len(rows)))


def odd(rows: int, dtype: torch.dtype) -> UpliftData:
    """Return logs with a constant, a heavy mode, few values, both zeros and large numbers."""
    drawn = logs(rows, seed=3, dtype=dtype)
    spread = drawn.features[:, 3]
    columns = (
        torch.full_like(spread, 0.1),
        torch.where(spread < 0.3, 0.7, spread),
        spread.round() * torch.where(spread > 0, 1.0, -1.0),
        spread.pow(9) * 1e6 - 3e5,
    )
    return replace(drawn, features=torch.stack(columns, dim=1))


def scaling(dtype: torch.dtype, rows: int, first: int) -> list[Any]:
    found = Scaling.fit(own(odd(rows, dtype), first), ranks=True)
    return [getattr(found, field.name).double().tolist() for field in fields(found)]


def pooled() -> list[Any]:
    """Return what a batch of two data sets reads, and each process's part of it put together."""
    drawn = [(logs(40, seed=s), logs(30, source="obs", seed=s)) for s in (1, 2)]
    sets = [(own(rct, 9).to("cpu", DOUBLE), own(obs, 30).to("cpu", DOUBLE)) for rct, obs in drawn]
    scalings = [Scaling.fit(*parts) for parts in sets]
    pool = RowPool.of(sets, scalings)
    generators = [torch.Generator().manual_seed(s) for s in range(3)]
    batch = list(pool.epoch((0, 1, 1), generators, batch_size=13, min_steps=2))[1]
    beside = batch.gather(pool.revenue * 2)  # a table that no column is
    columns = (batch.features, batch.treatment, batch.outcome, batch.from_logs, beside)
    parts = [
        torch.cat(gathered(one), dim=1)
        for one in (batch.own.features, batch.own.treatment, batch.own.gather(pool.cost))
    ]
    assert batch.own.index.shape[1] < 13 or not rows_apart()
    return [pool.total, *(one.double().tolist() for one in (*columns, *parts))]


def values(rows: UpliftData | None) -> list[float]:
    """Return the revenue of the rows of all processes: who they are."""
    assert rows is not None
    return torch.cat(gathered(rows.revenue)).tolist()


def halves(grouped: bool) -> list[Any]:
    """Return who is held out, of arms of two rows, too, and of whom folds leave out."""
    drawn = logs(90, seed=1)
    few = torch.cat([(drawn.treatment == arm).nonzero()[:2, 0] for arm in range(3)])
    found: list[Any] = []
    shared = torch.arange(10) * 7 // 2 % 4  # treatments take each other's last group
    for rows, first, groups in (
        (drawn, 20, torch.arange(90) % 31),
        (drawn.subset(few), 3, torch.arange(6)),
        (drawn.subset(torch.arange(10)), 4, shared),
    ):
        numbered = replace(rows, groups=groups) if grouped else rows
        part = own(numbered, first)
        for seed in range(8):
            kept, held = hold_out(TrainingSet(rct=part, seed=seed), 0.4)
            found += [values(kept.rct), values(held.rct)]
        found.append(torch.cat(gathered(folds_of(part, 0))).tolist())
    return found


def weights() -> list[Any]:
    rows = own(logs(60, seed=4, dtype=DOUBLE), 11)
    observed = rows.observed_cost.self_normalised()
    budget = budget_per_head(Budget(share=0.3), rows)
    return [torch.cat(gathered(one)).tolist() for one in (rows.weight, observed.weight)] + [budget]


def prices() -> list[Any]:
    """Return prices and spends, with ties, where cells are few and where each holds one person."""
    found: list[Any] = []
    for trial in range(60):
        shared_crossing._CELLS = (4096, 4, 2)[trial % 3]
        draw = torch.Generator().manual_seed(trial)
        rows = (1, 2, 40, 300)[trial % 4]
        amounts = torch.rand(2, rows, 3, generator=draw, dtype=DOUBLE)
        revenue, cost = (5 * amounts).round() if trial % 2 else amounts
        treatment = torch.randint(3, (rows,), generator=draw)
        spent, weight = torch.rand(2, rows, generator=draw, dtype=DOUBLE) + 0.1
        here = slice(None)
        if rows_apart():
            here = slice(0, rows // 3) if rank_of()[0] == 0 else slice(rows // 3, None)
        observed = ObservedCost(treatment[here], spent[here], weight[here])
        for share in (0.02, 0.3, 0.8):
            budget = share * float(spent @ weight)
            one = AllocationProblem(revenue[here], cost[here], budget, observed=observed)
            answer = DualBisection(on_infeasible="least-spend").solve(one)
            found += [float(answer.multiplier), float(answer.cost), float(answer.revenue)]
            try:
                DualBisection().solve(one)
            except DflError as error:
                found.append(str(error))
    return found


CASES: dict[str, Callable[[], list[Any]]] = {
    "scaling in float64": lambda: scaling(DOUBLE, 301, 77),
    "scaling in float32": lambda: scaling(torch.float32, 301, 300),
    "scaling where one has no rows": lambda: scaling(DOUBLE, 150, 0),
    "scaling of few rows": lambda: scaling(DOUBLE, 7, 1),
    "pool": pooled,
    "halves of people": lambda: halves(False),
    "halves of households": lambda: halves(True),
    "weights": weights,
    "prices": prices,
}


def refusals() -> dict[str, str]:
    """Return what is said of rows that do not fit each other."""
    rank = rank_of()[0]
    rows, validation = own(logs(60, seed=1), 20), own(logs(60, seed=2), 20)
    arm = replace(rows, treatment=rows.treatment.clamp(max=1))
    known = torch.full((len(rows), 3), 1 / 3)
    given: dict[str, dict[str, Any]] = {
        "nobody has the part": {"obs": None},
        "seeds": {"rct": rows, "seed": rank},
        "methods": {"rct": rows},
        "a treatment is missing": {"rct": arm},
        "dtypes": {"rct": rows.to("cpu", DOUBLE) if rank else rows},
        "propensities": {"rct": replace(rows, propensity=known) if rank else rows},
        "nothing in one process": {} if rank else {"rct": rows, "validation": validation},
    }
    said = {}
    for name, one in given.items():
        network = MLP((4 + rank if name == "methods" else 4,))
        method = METHODS.make("tsm-sl-rct", network=network, training=SMALL)
        try:
            said[name] = str(method.fit(**one).features)
        except DflError as error:
            said[name] = str(error)
    return said


PROGRAM = """
import json
from dfl.scale import joined
from tests.training.test_rows_apart import CASES, refusals
with joined():
    found = [{name: make() for name, make in CASES.items()}, refusals()]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found() -> list[Any]:
    """By each of two processes."""
    return run_in_processes(PROGRAM)


def flat(value: Any) -> list[Any]:
    return [one for part in value for one in flat(part)] if isinstance(value, list) else [value]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_find_what_one_finds(name: str, found: list[Any]) -> None:
    (first, _), (second, _) = found
    expected = flat(json.loads(json.dumps(CASES[name]())))
    tolerance = 1e-6 if "float32" in name else 1e-12
    for got, exactly, wanted in zip(flat(first[name]), flat(second[name]), expected, strict=True):
        assert str(got) == str(exactly)
        if isinstance(wanted, str):
            assert got == wanted
        else:
            assert got == pytest.approx(wanted, rel=tolerance, abs=tolerance, nan_ok=True)


def test_rows_that_do_not_fit_are_refused_by_all(found: list[Any]) -> None:
    (_, first), (_, second) = found
    assert first == second
    assert "TsmSl trains on rct rows, got no rct rows" in first["nobody has the part"]
    assert "must be given the same seed, got [0, 1]" in first["seeds"]
    assert "must be given the same method and seed; got others" in first["methods"]
    assert (
        "every treatment must occur, got no row with treatment [2]"
        in first["a treatment is missing"]
    )
    said = "rct rows of all processes must be alike, got "
    assert said + "dtype torch.float32 and torch.float64." in first["dtypes"]
    assert said + "known propensity False and True." in first["propensities"]
    assert first["nothing in one process"] == "4"


def test_one_process_has_all_rows() -> None:
    with joined():
        assert not rows_apart()
        with pytest.raises(DflError, match="got no rows at all"):
            TrainingSet()
        assert Tensor.equal(logs(9).subset(torch.arange(9)).weight, logs(9).weight)
