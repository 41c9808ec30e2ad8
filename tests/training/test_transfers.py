"""Training steps never wait for a GPU: what they would transfer does not grow with their number.

On the CPU every number is at hand, so these tests tell dfl to treat the CPU as it would a GPU.
"""

from collections import Counter
from functools import cache

import pytest
import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.data import CriteoLikeSimulator, PartSizes
from dfl.errors import InvalidValueError
from dfl.hypergrad.conjugate_gradient import conjugate_gradient
from dfl.methods import METHODS, AbstractModel, BilevelSettings, Training, TrainingSet
from dfl.models import MLP
from dfl.problem import AllocationProblem
from dfl.solvers import GreedyDual
from tests.solvers.instances import problem
from tests.transfers import transfers


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the CPU for a device whose numbers are not at hand."""
    monkeypatch.setattr("dfl.checks._AT_ONCE", ())
    monkeypatch.setattr("dfl.hypergrad.conjugate_gradient._AT_HAND", ())
    monkeypatch.setattr("dfl.solvers.passes.narrowing._AT_HAND", ())


@cache
def rows() -> TrainingSet:
    sizes = PartSizes(rct=1_000, obs=2_000, validation=400, test=10)
    draw = CriteoLikeSimulator(sizes=sizes, hidden_confounding=0.5).hybrid(0)
    return TrainingSet(rct=draw.rct, obs=draw.obs, validation=draw.validation)


def fit(name: str, steps: int) -> AbstractModel:
    training = Training(
        epochs=3, batch_size=256, min_steps=steps, learning_rate=4e-3, weight_decay=(0.1,),
        members=1,
    )  # fmt: skip
    takes: dict[str, object] = {"budgets": (Budget(share=0.5),)} if "dfcl" in name else {}
    if name == "bi-dfcl-ppl":  # several upper steps in an epoch of thirty
        takes["upper"] = BilevelSettings(every=10)
    method = METHODS.make(name, network=MLP(hidden=(8,)), training=training, **takes)
    (model,) = method.fit_many([rows()])
    return model


def in_loops(found: Counter[str]) -> Counter[str]:
    """Leave out the search for a price, once per epoch, which takes as long as it takes."""
    rooms = ("solvers/", "problem/", "layers/pricing/problems.py")
    return Counter({place: n for place, n in found.items() if not place.startswith(rooms)})


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("name", ["tsm-sl", "kd-label", "dfcl-ppl", "bi-dfcl-ppl"])
def test_steps_transfer_nothing(name: str) -> None:
    few, many = (in_loops(transfers(lambda n=n: fit(name, n))) for n in (30, 90))  # type: ignore[misc]
    assert few["training/loop.py:_epoch"] > 0, "the counter sees the loss of an epoch"
    # A look-ahead asks once whether the loss rose, an upper step has one look-ahead.
    ahead = "hypergrad/steps/look_ahead.py:_stepped"
    assert many[ahead] == {"bi-dfcl-ppl": 3}.get(name, 0)
    assert {p: n for p, n in many.items() if n > few[p] and p != ahead} == {}


@pytest.mark.parametrize("name", ["dfcl-ppl", "bi-dfcl-ppl"])
def test_training_is_the_same_wherever_numbers_are(
    name: str, request: pytest.FixtureRequest
) -> None:
    near = fit(name, 20).predict(rows().validation.features)
    request.getfixturevalue("far")
    there = fit(name, 20).predict(rows().validation.features)
    assert near.revenue.equal(there.revenue)
    assert near.cost.equal(there.cost)


@pytest.mark.usefixtures("far")
def test_conjugate_gradients_look_at_a_number_every_sixteen_steps() -> None:
    draw = torch.Generator().manual_seed(0)
    half = torch.randn(60, 60, generator=draw, dtype=torch.float64)
    matrix, target = half @ half.T + torch.eye(60), torch.randn(2, 60, generator=draw).double()

    def solve(steps: int) -> Tensor:
        found = conjugate_gradient(lambda v: v @ matrix, target, max_iter=steps, rtol=1e-12)
        assert found.iterations == steps
        return found.solution

    counts = [sum(transfers(lambda n=n: solve(n)).values()) for n in (1, 10, 15, 16, 40)]  # type: ignore[misc]
    assert counts == [2, 2, 2, 2, 4]  # both are checks of the whole solve, not of a step
    found = conjugate_gradient(lambda v: v @ matrix, target, max_iter=500, rtol=1e-6)
    assert bool(found.converged.all())
    near = torch.linalg.solve(matrix, target.T).T
    torch.testing.assert_close(found.solution, near, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("far")
def test_the_exact_solver_transfers_a_handful_per_bracket() -> None:
    many = problem(3, rows=200_000, treatments=5)
    given = AllocationProblem(many.revenue, many.cost, float(many.budgets[0]))
    solver = GreedyDual(backend="torch")
    at_hand = ("_at_hand", "sifted", "_settle")  # the rest runs on what has come to the CPU
    found = transfers(lambda: solver.solve(given))
    assert 0 < sum(n for place, n in found.items() if place.split(":")[1] in at_hand) <= 20
    many = problem(3, rows=50, treatments=5)
    with pytest.raises(InvalidValueError, match="finite"):
        solver.solve(AllocationProblem(many.revenue * torch.nan, many.cost, 1.0))
