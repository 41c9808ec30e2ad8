from pathlib import Path
from typing import Any

import pytest
import torch

from dfl.models import MLP, Scaling
from dfl.training.networks import NetworkPlan, Networks
from dfl.training.shares import loss_of_all, share_of
from tests.methods.toy import training_set
from tests.scale.in_processes import run_in_processes


def networks() -> Networks:
    one = training_set(0)
    scaling = Scaling.fit(*one.rows("both"))
    return Networks([one], [scaling], NetworkPlan.of([one], 2, [[0.1]]), MLP((4,)), "")


def test_one_process_has_the_whole_batch() -> None:
    pool = networks().pool(lambda one: one.rows("rct"))
    batch = pool.take(torch.arange(10).expand(2, -1))
    assert share_of(batch) == (batch, 1.0)
    found = loss_of_all(lambda x: x.mean(dim=(1, 2)), lambda x: (2 * x,), batch)
    assert found.equal((2 * batch.features).mean(dim=(1, 2)))


SHARES = """
import json, torch
from dfl.errors import UnsupportedProblemError
from dfl.scale import joined, over_ranks, rank_of, together
from dfl.training.shares import loss_of_all, share_of
from tests.training.test_shares import networks
torch.set_default_dtype(torch.float64)
many = networks()
pool = many.pool(lambda one: one.rows("rct"))
stacked, start = many.stacked, many.initial(many.stacked, "x")
found = {"rows": [], "shares": []}

def loss(outcomes):  # mixes rows, and asks whether it stands alone
    assert rank_of()[1] == 1
    rows = outcomes.flatten(2)
    return (rows @ rows.mT).square().mean(dim=(1, 2))

with joined(same_rows=True), together():
    world = rank_of()[1]
    for size in (1, 7):
        batch = pool.take(torch.arange(2 * size).reshape(2, size))
        own, share = share_of(batch)
        found["rows"].append(own.index.tolist())
        found["shares"].append(share)
    leaves = {name: value.requires_grad_() for name, value in start.items()}
    value = loss_of_all(loss, lambda x: (stacked(leaves, x),), batch)
    weight = torch.tensor([1.0, 3.0]) / world
    flat = lambda parts: torch.cat([part.flatten() for part in parts])
    gradient = torch.autograd.grad((weight * value).sum(), list(leaves.values()), retain_graph=True)
    found["value"] = value.tolist()
    found["gradient"] = over_ranks(flat(gradient).detach()).tolist()
    found["plain"] = loss_of_all(loss, lambda x: (stacked(start, x).detach(),), batch).tolist()
    try:
        torch.autograd.grad(value.sum(), list(leaves.values()), create_graph=True)
        found["second"] = ""
    except UnsupportedProblemError as error:
        found["second"] = str(error)
print(json.dumps(found))
"""


def test_processes_share_a_batch_and_a_loss_that_mixes_its_rows() -> None:
    one, first, second = (
        found for count in (1, 2) for found in run_in_processes(SHARES, processes=count)
    )
    assert (one["shares"], first["shares"]) == ([1.0, 1.0], [0.5, 3 / 7])
    assert first["rows"][0] == second["rows"][0] == [[0], [1]]  # too few to share
    both = [a + b for a, b in zip(first["rows"][1], second["rows"][1], strict=True)]
    assert both == one["rows"][1]
    for name in ("value", "gradient", "plain"):
        assert first[name] == second[name] == pytest.approx(one[name], rel=1e-12)
    assert one["second"] == ""
    assert "first derivatives only where several" in first["second"]


REFUSED = """
import json
from dfl.errors import DflError
from dfl.methods import METHODS
from dfl.models import MLP
from dfl.scale import joined, leads
from tests.methods.toy import SMALL, training_set

method = METHODS.make("tsm-sl", network=MLP((4,)), training=SMALL)
with joined(same_rows=True):
    try:
        method.fit_many([training_set(0 if leads() else 1)])
    except DflError as error:
        print(json.dumps(str(error)))
"""


def test_other_rows_are_refused_where_all_should_have_the_same() -> None:
    for said in run_in_processes(REFUSED):
        assert "must be given the same rows, in the same order, the same method and seed" in said


RESUMED = """
import json, os, sys
from pathlib import Path
from dfl.errors import ProcessError
from dfl.methods import METHODS, Monitor
from dfl.models import MLP
from dfl.scale import joined, leads
from tests.methods.toy import SMALL, logs, training_set

method = METHODS.make("dfcl", network=MLP((4,)), training=SMALL)
folder, stop = Path(sys.argv[1]), int(sys.argv[2])
seen = []

def report(done):
    seen.append(done)
    if len(seen) == stop:
        raise KeyboardInterrupt

with joined(same_rows=True):
    first = leads()
    answer = None
    try:
        model = method.fit_many([training_set(0)], monitor=Monitor(report, folder))[0]
        answer = model.predict(logs(20, seed=4).features.double()).revenue.tolist()
    except (KeyboardInterrupt, ProcessError):
        print(json.dumps([answer, len(seen), first]), flush=True)
        os._exit(0)  # threads of gloo that lost the other process may abort at an orderly end
print(json.dumps([answer, len(seen), first]))
"""


def test_a_stopped_training_goes_on_in_all_processes(tmp_path: Path) -> None:
    def run(place: str, stop: int) -> list[Any]:
        (tmp_path / place).mkdir(exist_ok=True)
        return run_in_processes(RESUMED, str(tmp_path / place), str(stop))

    whole = run("whole", 0)
    assert [epochs for _, epochs, _ in whole] == [6, 0]  # the first process speaks for all
    assert run("stopped", 4) == [[None, 4, True], [None, 0, False]]
    again = run("stopped", 0)
    assert [epochs for _, epochs, _ in again] == [2, 0]
    assert again[0][0] == again[1][0] == whole[0][0]
