from pathlib import Path

import pytest
import torch

from dfl.hypergrad import HYPERGRADIENTS
from dfl.scale import alone, gathered, joined, over_ranks, rank_of
from tests.scale.in_processes import run_in_processes, start_processes


def test_one_process_has_the_sum_itself() -> None:
    value = torch.tensor([1.0, 2.0])
    assert over_ranks(value) is value
    assert (rank_of(), gathered(3)) == ((0, 1), [3])
    with joined(), alone():
        assert rank_of() == (0, 1)


def test_gradients_flow_through_the_sum() -> None:
    value = torch.tensor(3.0, requires_grad=True)
    over_ranks(value * value).backward()
    assert value.grad is not None
    assert float(value.grad) == 6.0


SUMS = """
import json, torch
from dfl.scale import alone, gathered, joined, over_ranks, rank_of
with joined():
    rank, world = rank_of()
    value = torch.tensor([rank + 1.0, 10.0], requires_grad=True)
    total = over_ranks(value)
    (total[0] * (rank + 2) + total[1]).backward()  # each process's own part of the loss
    kept = value.tolist()
    with alone():
        by_itself = over_ranks(torch.tensor(5.0)).item()
    found = [rank, world, total.tolist(), value.grad.tolist(), kept, by_itself, gathered(rank)]
print(json.dumps(found))
"""


def test_two_processes_share_sums_and_gradients() -> None:
    first, second = run_in_processes(SUMS)
    assert first == [0, 2, [3.0, 20.0], [5.0, 2.0], [1.0, 10.0], 5.0, [0, 1]]
    assert second == [1, 2, [3.0, 20.0], [5.0, 2.0], [2.0, 10.0], 5.0, [0, 1]]


OPTIONS = {
    "conjugate-gradient": {"rtol": 1e-12},
    "exact": {},
    "gauss-newton": {"rtol": 1e-12},
    "identity": {"scale": 0.5},
    "neumann": {"terms": 30, "rtol": 1.0},
    "nystrom": {"rank": 3, "damping": 0.1},
    "truncated": {"steps": 6, "last": 4},
    "unrolled": {"steps": 5},
}

HYPERGRADS = """
import json, sys, torch
from torch.func import functional_call
from dfl.hypergrad import HYPERGRADIENTS, ComposedLoss, LookAhead
from dfl.scale import joined, rank_of

torch.set_default_dtype(torch.float64)
options = json.loads(sys.argv[1])
draw = torch.Generator().manual_seed(0)
x, y = torch.randn(60, 4, generator=draw), torch.randn(60, 1, generator=draw)
x2, y2 = torch.randn(30, 4, generator=draw), torch.randn(30, 1, generator=draw)
torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
inner = {name: value.detach() for name, value in network.named_parameters()}
outer = {"weight": torch.linspace(-1, 1, 60)[:, None], "penalty": torch.tensor(-1.0)}
found = {}
with joined():
    rank, world = rank_of()
    cut = [slice(0, 23), slice(23, 60)][rank] if world == 2 else slice(0, 60)
    cut2 = slice(rank, None, world)

    def outputs(inner, outer):
        flat = torch.cat([value.reshape(-1) for value in inner.values()])
        return functional_call(network, inner, (x[cut],)), flat

    def criterion(outputs, outer):  # this process's part of a sum over all rows
        fit = (outer["weight"][cut].sigmoid() * (outputs[0] - y[cut]) ** 2).sum() / 60
        return fit + outer["penalty"].exp() * outputs[1].square().sum() / world

    def outer_loss(inner, outer):
        return ((functional_call(network, inner, (x2[cut2],)) - y2[cut2]) ** 2).sum() / 30

    loss = ComposedLoss(outputs, criterion)
    inner = LookAhead(300, step_size=0.2)(loss, inner, outer)
    found["optimum"] = torch.cat([value.reshape(-1) for value in inner.values()]).tolist()
    for name, given in options.items():
        method = HYPERGRADIENTS.make(name, **given, on_failure="return")
        answer = method(loss, outer_loss, inner, outer)
        grads = [value.reshape(-1) for value in answer.outer_grad.values()]
        about = answer.diagnostics
        norm = about.inner_gradient.item()
        found[name] = [*torch.cat(grads).tolist(), answer.outer_value.item(), norm]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def hypergradients() -> list[dict[str, list[float]]]:
    """Of one process that has all rows, and of two that share them."""
    import json

    return [
        one
        for processes in (1, 2)
        for one in run_in_processes(HYPERGRADS, json.dumps(OPTIONS), processes=processes)
    ]


@pytest.mark.parametrize("name", ["optimum", *HYPERGRADIENTS.names()])
def test_two_processes_find_the_hypergradient_of_one(
    name: str, hypergradients: list[dict[str, list[float]]]
) -> None:
    alone, *shared = (torch.tensor(one[name], dtype=torch.float64) for one in hypergradients)
    assert shared[0].equal(shared[1])
    torch.testing.assert_close(shared[0], alone, rtol=1e-10, atol=1e-10)


WRAPPED = """
import json, os, torch
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel
from dfl.errors import UnsupportedProblemError
from dfl.hypergrad import Identity
from dfl.scale import joined
x, cpu, found = torch.ones(5, 2), torch.device("cpu"), {}
wraps = {
    "DDP": DistributedDataParallel,
    "FSDP, flat": lambda module: FullyShardedDataParallel(module, device_id=cpu),
    "FSDP, original": lambda module: FullyShardedDataParallel(
        module, device_id=cpu, use_orig_params=True
    ),
    "FSDP, fully_shard": fully_shard,
    "bare": lambda module: module,
}
with joined():
    for name, wrap in wraps.items():
        torch.manual_seed(0)
        module = wrap(torch.nn.Linear(2, 1))

        def loss(inner, outer):
            return functional_call(module, inner, (x,)).square().mean() * outer["scale"]

        outer = {"scale": torch.tensor(2.0)}
        try:
            Identity()(loss, loss, dict(module.named_parameters()), outer)
            found[name] = "taken"
        except UnsupportedProblemError as error:
            found[name] = str(error)
print(json.dumps(found), flush=True)
os._exit(0)  # the wrappers keep threads of gloo, which may abort while Python takes its leave
"""


def test_wrapped_modules_are_refused() -> None:
    for found in run_in_processes(WRAPPED):
        assert found.pop("bare") == "taken"
        for name, said in found.items():
            assert f"wrapped in {name.partition(',')[0]}, whose second derivatives are" in said
            assert "bare module" in said


MESSAGES = """
import json, torch
from dfl.scale import (
    all_over_ranks, alone, from_first, handed_out, joined, leads, rank_of, rows_apart, sent_around,
    together,
)
from dfl.errors import InvalidValueError
found = []
with joined():
    with joined(same_rows=True):  # of the group that stands
        found += [rank_of(), leads()]
        with joined():
            found.append(rows_apart())
        with together():
            found.append(rows_apart())
            rank, world = rank_of()
            values = [torch.full((2,), rank + 1.0), torch.tensor([[1.0], [rank]])]
            found += [one.tolist() for one in all_over_ranks(values)]
            mixed = all_over_ranks([*values, torch.tensor(rank)])
            found += [mixed[0].tolist(), mixed[2].item(), from_first(lambda: rank + 7)]

            def fail():
                raise InvalidValueError(f"by {rank}")

            try:
                from_first(fail)
            except InvalidValueError as error:
                found.append(str(error))
    with together():  # which they are, with rows of their own
        rank, world = rank_of()
        found += [rows_apart(), handed_out(lambda to: f"for {to}")]
        rows = torch.arange(4).reshape(2, 2) + 10 * rank
        given, taken = ([0, 2], [0, 1]) if rank == 0 else ([1, 1], [2, 1])
        with alone():
            found += [rows_apart(), sent_around(rows, given, taken).tolist()]
print(json.dumps(found))
"""


def test_processes_with_the_same_rows_work_alone_but_where_they_are_together() -> None:
    for rank, found in enumerate(run_in_processes(MESSAGES)):
        assert found[:2] == [[0, 1], rank == 0]
        assert found[2:4] == [True, False]
        assert found[4:9] == [[3.0, 3.0], [[2.0], [1.0]], [3.0, 3.0], 1, 7]
        assert found[9] == "by 0"
        assert found[10:13] == [True, f"for {rank}", False]
        assert found[13] == ([[10, 11]] if rank == 0 else [[0, 1], [2, 3], [12, 13]])


GONE = """
import torch
from dfl.scale import gathered, joined, over_ranks, rank_of
with joined():
    gathered(0)
    if rank_of()[0]:
        raise SystemExit(3)
    while True:
        over_ranks(torch.ones(2))
"""


def test_a_process_that_has_gone_ends_the_others() -> None:
    first, second = start_processes("-c", GONE)
    assert "another of the processes that work together has ended" in first.communicate(None, 60)[1]
    second.communicate(None, 60)
    assert (first.returncode, second.returncode) == (1, 3)


BLOCKS = """
import json, sys
import torch
from dfl.budget import Budget
from dfl.scale import joined, rank_of
from dfl.solvers.blockwise import TensorBlocks, solve, solve_blocks
from tests.solvers.instances import problem
found = []
with joined():
    for kind in ("continuous", "priced"):
        for most in (1 << 22, 40, 0):
            solve._MOST_STEPS = most
            many = problem(5, rows=2_000, treatments=4, kind=kind)
            blocks = TensorBlocks(many.revenue, many.cost, 301)
            one = solve_blocks(blocks, Budget(total=float(many.budget)))
            choice = [one.choice(k, *blocks.scores(k)) for k in range(len(blocks.sizes))]
            found += [one.multiplier, one.revenue, one.cost, one.upper_bound]
            found += torch.cat(choice).tolist()
print(json.dumps(found))
"""


def test_two_processes_allocate_blocks_as_one() -> None:
    single, *shared = (
        one for processes in (1, 2) for one in run_in_processes(BLOCKS, processes=processes)
    )
    assert shared[0] == shared[1]
    assert shared[0] == pytest.approx(single, rel=1e-12)


ALLOCATE = """
import json, sys
from pathlib import Path
from dfl.budget import Budget
from dfl.pipeline import allocate_columns, dataset
from dfl.scale import joined
dataset._ROWS, dataset._SMALL = 150, 0
source, output = map(Path, sys.argv[1:])
columns = {"revenue": ("r0", "r1"), "cost": ("c0", "c1")}
with joined():
    done = allocate_columns(source, output, Budget(per_head=0.3), **columns)
print(json.dumps(done.people))
"""


def test_two_processes_write_what_one_writes(tmp_path: Path) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    draw = np.random.default_rng(0)
    columns = {name: draw.random(1_000, dtype=np.float32) for name in ("r0", "r1", "c1")}
    columns["c0"] = np.zeros(1_000, np.float32)
    pq.write_table(pa.table(columns), tmp_path / "scores.parquet", row_group_size=100)
    said = [
        run_in_processes(
            ALLOCATE, str(tmp_path / "scores.parquet"), str(tmp_path / f"{k}"), processes=k
        )
        for k in (1, 2)
    ]
    assert said[0] * 2 == said[1]
    one, two = (sorted((tmp_path / f"{k}").glob("part-*")) for k in (1, 2))
    assert [file.name for file in one] == [file.name for file in two]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(one, two, strict=True))
