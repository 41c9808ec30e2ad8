"""Every hypergradient, both matrix products and a whole upper step, beside one plain gradient.

Off by default. Run with ``pytest benchmarks/test_hypergrad.py --benchmark-only``; float32, an
MLP 20-64-32-32-10 whose targets are mixed by a gate, the outer parameters. ``extra_info`` of
the saved JSON holds the size, the versions, the time in plain gradients, and quality: the
residual, and the distance of member 0 to the dense float64 answer with the exact Hessian.
Times are processor time, so that they hold on a shared machine; run with OMP_NUM_THREADS=1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from time import process_time

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn
from torch.func import functional_call, vmap

from dfl.hypergrad import (
    HYPERGRADIENTS,
    ComposedLoss,
    GaussNewton,
    Hypergradient,
    LookAhead,
    Parameters,
)
from dfl.hypergrad.curvature.base import Curvature
from dfl.hypergrad.curvature.point import Point
from dfl.hypergrad.curvature.products import gauss_newton, hessian

pytestmark = pytest.mark.benchmark(timer=process_time)

DAMPING = 0.1
OPTIONS: dict[str, dict[str, object]] = {
    "conjugate-gradient": {"max_iter": 20, "damping": DAMPING, "on_failure": "return"},
    "gauss-newton": {"max_iter": 20, "damping": DAMPING, "on_failure": "return"},
    "identity": {"scale": 1.0},
    "neumann": {"terms": 20, "damping": DAMPING, "on_failure": "return"},
    "nystrom": {"rank": 20, "damping": DAMPING, "on_failure": "return"},
    "truncated": {"steps": 5, "last": 2},
    "unrolled": {"steps": 5},
}
assert set(HYPERGRADIENTS.names()) == OPTIONS.keys() | {"exact"}  # exact is the truth here
MOST_MEMBERS = 10
TRAINING_STEPS = 300


@dataclass(frozen=True, eq=False)
class Problem:
    """Inner: fit targets and a gated teacher; outer: fit other targets."""

    inner_loss: ComposedLoss
    outer_loss: ComposedLoss
    inner: Parameters
    outer: Parameters

    def gradient(self) -> tuple[Tensor, ...]:
        """One plain gradient of the inner loss."""
        leaves = {name: value.detach().requires_grad_() for name, value in self.inner.items()}
        value = self.inner_loss(leaves, self.outer)
        return torch.autograd.grad(value.sum(), list(leaves.values()))


def make(rows: int, inner: Parameters, outer: Parameters) -> Problem:
    draw = torch.Generator().manual_seed(1)
    dtype = outer["gate"].dtype

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype)

    features, rule = normal(rows, 20), normal(20, 10)
    teacher = torch.tanh(features @ rule / 4)
    targets, outer_targets = teacher + normal(rows, 10), teacher + 0.3 * normal(rows, 10)
    net = network()

    def predict(inner: Parameters, outer: Parameters) -> Tensor:
        return vmap(lambda one: functional_call(net, one, (features,)))(inner)

    def fit(found: Tensor, outer: Parameters) -> Tensor:
        gate = torch.sigmoid(features @ outer["gate"] - 2)
        gaps = (found - targets) ** 2 + gate * (found - teacher) ** 2
        return gaps.mean((-1, -2))

    def decide(found: Tensor, outer: Parameters) -> Tensor:
        return ((found - outer_targets) ** 2).mean((-1, -2))

    return Problem(ComposedLoss(predict, fit), ComposedLoss(predict, decide), inner, outer)


def network() -> nn.Sequential:
    sizes = (20, 64, 32, 32, 10)
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@lru_cache(maxsize=1)
def trained() -> tuple[Parameters, Parameters]:
    """Train all members on 1,024 rows, so that the inner problem is near a minimum."""
    draw = torch.Generator().manual_seed(2)
    inner = {
        name: torch.randn((MOST_MEMBERS, *value.shape), generator=draw)
        * (value.shape[-1] ** -0.5 if value.ndim > 1 else 0.0)
        for name, value in network().named_parameters()
    }
    outer = {"gate": 0.2 * torch.randn((MOST_MEMBERS, 20, 10), generator=draw)}
    leaves = {name: value.requires_grad_() for name, value in inner.items()}
    optimiser = torch.optim.Adam(leaves.values(), lr=3e-3)
    problem = make(1024, leaves, outer)
    for _ in range(TRAINING_STEPS):
        optimiser.zero_grad()
        problem.inner_loss(leaves, outer).sum().backward()
        optimiser.step()
    return {name: value.detach() for name, value in leaves.items()}, outer


def sized(rows: int, members: int) -> Problem:
    inner, outer = trained()
    return make(
        rows,
        {name: value[:members].contiguous() for name, value in inner.items()},
        {name: value[:members].contiguous() for name, value in outer.items()},
    )


@lru_cache(maxsize=1)
def dense_truth() -> Tensor:
    """Hypergradient of member 0 on 1,024 rows by the dense exact Hessian, in float64."""
    single = sized(1024, 1)
    copies = 37  # unit vectors per product; the matrix has 4,810 columns
    inner, outer = (
        {name: value.double().expand(copies, *value.shape[1:]) for name, value in each.items()}
        for each in (single.inner, single.outer)
    )
    many = make(1024, inner, outer)
    product = hessian(many.inner_loss, Point.at(inner, outer)).product
    n = sum(value[0].numel() for value in inner.values())
    columns = [product(block) for block in torch.eye(n, dtype=torch.float64).split(copies)]
    matrix = torch.cat(columns) + DAMPING * torch.eye(n, dtype=torch.float64)

    one = make(
        1024,
        {name: value[:1] for name, value in inner.items()},
        {name: value[:1] for name, value in outer.items()},
    )
    point = Point.at(one.inner, one.outer)
    mixed = hessian(one.inner_loss, point).mixed
    leaves = [*point.inner.values(), *point.outer.values()]
    value = one.outer_loss(point.inner, point.outer).sum()
    slopes = torch.autograd.grad(value, leaves, materialize_grads=True)
    right = torch.cat([slope.flatten() for slope in slopes[: len(inner)]])
    found = torch.linalg.solve(matrix, right)  # one system: batched solves may hang
    return slopes[-1][0] - mixed(found.unsqueeze(0))["gate"][0]


def seconds(run: Callable[[], object], rounds: int = 20) -> float:
    """Shortest time of some rounds: what the machine can do when it is left alone."""
    run()
    times = []
    for _ in range(rounds):
        start = process_time()
        run()
        times.append(process_time() - start)
    return min(times)


def record(benchmark: BenchmarkFixture, problem: Problem, rows: int) -> None:
    members = len(problem.outer["gate"])
    benchmark.group = f"hypergrad rows={rows} members={members}"
    benchmark.extra_info.update(
        rows=rows,
        members=members,
        dtype="float32",
        device="cpu",
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )


def record_in_gradients(benchmark: BenchmarkFixture, problem: Problem) -> None:
    if benchmark.stats is not None:  # None under --benchmark-disable
        plain = seconds(problem.gradient)
        benchmark.extra_info["plain_gradients"] = benchmark.stats["min"] / plain


@pytest.mark.parametrize("members", [1, MOST_MEMBERS])
@pytest.mark.parametrize("name", OPTIONS)
def test_hypergradient(benchmark: BenchmarkFixture, name: str, members: int) -> None:
    problem, method = sized(1024, members), HYPERGRADIENTS.load(name)(**OPTIONS[name])
    record(benchmark, problem, 1024)
    call = (problem.inner_loss, problem.outer_loss, problem.inner, problem.outer)
    found: Hypergradient = benchmark.pedantic(method, call, rounds=5, warmup_rounds=1)
    record_in_gradients(benchmark, problem)
    truth, answer = dense_truth(), found.outer_grad["gate"][0].double()
    benchmark.extra_info.update(
        error=float((answer - truth).norm() / truth.norm()),
        cosine=float(torch.cosine_similarity(answer.flatten(), truth.flatten(), dim=0)),
        iterations=found.diagnostics.iterations,
        residual=float(found.diagnostics.residual[0]),
        curvature=float(found.diagnostics.curvature[0]),
    )


@pytest.mark.parametrize("members", [1, MOST_MEMBERS])
@pytest.mark.parametrize("rows", [1024, 4096])
@pytest.mark.parametrize("curvature", [hessian, gauss_newton], ids=lambda kind: kind.__name__)
def test_product(
    benchmark: BenchmarkFixture, curvature: Callable[..., Curvature], rows: int, members: int
) -> None:
    problem = sized(rows, members)
    record(benchmark, problem, rows)
    matrix = curvature(problem.inner_loss, Point.at(problem.inner, problem.outer))
    vector = matrix.inner_gradient.clone()
    benchmark.pedantic(matrix.product, (vector,), rounds=30, warmup_rounds=3)
    record_in_gradients(benchmark, problem)


@pytest.mark.parametrize("members", [1, MOST_MEMBERS])
@pytest.mark.parametrize("rows", [1024, 4096])
def test_plain_gradient(benchmark: BenchmarkFixture, rows: int, members: int) -> None:
    problem = sized(rows, members)
    record(benchmark, problem, rows)
    benchmark.pedantic(problem.gradient, rounds=30, warmup_rounds=3)


@pytest.mark.parametrize("members", [1, MOST_MEMBERS])
@pytest.mark.parametrize("products", [10, 50])
def test_upper_step(benchmark: BenchmarkFixture, products: int, members: int) -> None:
    """Five look-ahead steps and a hypergradient, as `bi-dfcl` takes them."""
    problem = sized(4096, members)
    record(benchmark, problem, 4096)
    method = GaussNewton(max_iter=products, rtol=0.0, on_failure="return")
    ahead = LookAhead(5)
    ahead(problem.inner_loss, problem.inner, problem.outer)  # measures, once per epoch
    call = (problem.inner_loss, problem.outer_loss, problem.inner, problem.outer)

    def step() -> Hypergradient:
        return ahead.hypergradient(method, *call)

    benchmark.pedantic(step, rounds=5, warmup_rounds=1)
    record_in_gradients(benchmark, problem)
