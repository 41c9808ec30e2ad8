"""Hypergradients beside torchopt and betty-ml, and products beside one plain gradient.

Off by default. Run with ``pytest benchmarks/test_hypergrad_peers.py --benchmark-only``, with
OMP_NUM_THREADS=1; needs the extra ``peers``. One problem for all: an MLP on 4,096 rows with one
weight per row as outer parameters, trained for a while. 50 products each, float32. The system is
damped: ours by the option, the others' by a term ``damping / 2 |inner - start|^2`` in the inner
loss, as they have no option. Error and residual of every package come from a second run with one
more outer parameter, a ``shift`` that enters the inner loss as ``-shift . inner``: its
hypergradient is the solution of the linear system itself. The truth is `Exact` in float64 for the
small network, and conjugate gradients in float64 to 1e-10 for the large one. Times are processor
time, the shortest of some rounds in which all calls take turns.
"""

import ctypes
import gc
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from time import process_time
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchopt
from betty.hypergradient.cg import cg as betty_cg
from betty.hypergradient.neumann import neumann as betty_neumann
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn
from torch.func import functional_call

from dfl.hypergrad import (
    AbstractHypergradient,
    ComposedLoss,
    ConjugateGradient,
    Exact,
    GaussNewton,
    Identity,
    LinearStack,
    Loss,
    Neumann,
    Nystrom,
    Parameters,
    Unrolled,
)
from dfl.hypergrad.curvature.point import Point
from dfl.hypergrad.curvature.products import CurvatureName, gauss_newton, hessian

pytestmark = [
    pytest.mark.benchmark(timer=process_time),
    pytest.mark.filterwarnings("ignore:We've integrated functorch:FutureWarning"),  # torchopt
]

SIZES = {"small": (12, 64, 32, 32, 4), "large": (180, 128, 64, 32, 16)}
ROWS, PRODUCTS, DAMPING = 4096, 50, 0.3


@dataclass(frozen=True, eq=False)
class Problem:
    """The same inner loss three times; an outer loss; where to differentiate."""

    written: ComposedLoss  # on a LinearStack
    automatic: ComposedLoss  # by functional_call
    damped: Loss  # the same with the damping in the loss
    outer_loss: Loss
    inner: Parameters
    outer: Parameters

    def gradient(self) -> tuple[Tensor, ...]:
        """One plain gradient of the inner loss."""
        leaves = {name: value.detach().requires_grad_() for name, value in self.inner.items()}
        return torch.autograd.grad(self.automatic(leaves, self.outer), list(leaves.values()))

    def solution(self, outer_grad: Parameters) -> Tensor:
        """The solution of the linear system, read off the hypergradient of the shift."""
        return torch.cat([outer_grad[f"shift.{name}"].flatten() for name in self.inner])


@cache
def problem(
    size: str,
    dtype: torch.dtype = torch.float32,
    activation: str = "ReLU",
    shifted: bool = False,
) -> Problem:
    """Build it, with the network trained for 300 steps of Adam."""
    draw = torch.Generator().manual_seed(0)
    sizes = SIZES[size]

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw)

    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), getattr(nn, activation)()]
    network = nn.Sequential(*layers[:-1])
    start = {
        name: normal(*value.shape) * (value.shape[-1] ** -0.5 if value.ndim > 1 else 0.0)
        for name, value in network.named_parameters()
    }
    features, rule = normal(ROWS, sizes[0]), normal(sizes[0], sizes[-1])
    clean = torch.tanh(features @ rule / 4)
    targets, outer_targets = clean + normal(ROWS, sizes[-1]), clean + 0.3 * normal(ROWS, sizes[-1])
    start = _trained(network, start, features, targets)
    features, targets, outer_targets = (x.to(dtype) for x in (features, targets, outer_targets))
    inner = {name: value.to(dtype) for name, value in start.items()}
    fixed = {name: value.clone() for name, value in inner.items()}
    outer = {"log_weight": 0.1 * normal(ROWS).to(dtype)}
    if shifted:
        outer |= {f"shift.{name}": torch.zeros_like(value) for name, value in inner.items()}

    def criterion(found: Tensor | tuple[Tensor, ...], outer: Parameters) -> Tensor:
        prediction, *values = found if isinstance(found, tuple) else (found,)
        weight = outer["log_weight"].exp().unsqueeze(1)
        loss = (weight * (prediction - targets) ** 2).mean()
        for name, value in zip(inner, values, strict=False):  # no values unless shifted
            loss = loss - (outer[f"shift.{name}"] * value).sum()
        return loss

    def forward(inner: Parameters, outer: Parameters) -> Tensor | tuple[Tensor, ...]:
        found = functional_call(network, inner, (features,))
        return (found, *inner.values()) if shifted else found

    automatic = ComposedLoss(forward, criterion)

    def damped(inner: Parameters, outer: Parameters) -> Tensor:
        loss = automatic(inner, outer)
        for name, anchor in fixed.items():
            loss = loss + DAMPING / 2 * ((inner[name] - anchor) ** 2).sum()
        return loss

    def outer_loss(inner: Parameters, outer: Parameters) -> Tensor:
        return ((functional_call(network, inner, (features,)) - outer_targets) ** 2).mean()

    written = ComposedLoss(LinearStack(network, features, with_parameters=shifted), criterion)
    return Problem(written, automatic, damped, outer_loss, inner, outer)


def _trained(
    network: nn.Module, start: Parameters, features: Tensor, targets: Tensor
) -> Parameters:
    leaves = {name: value.requires_grad_() for name, value in start.items()}
    optimiser = torch.optim.Adam(leaves.values(), lr=3e-3)
    for _ in range(300):
        optimiser.zero_grad()
        ((functional_call(network, leaves, (features,)) - targets) ** 2).mean().backward()
        optimiser.step()
    return {name: value.detach() for name, value in leaves.items()}


# The packages --------------------------------------------------------------------------------


def ours(method: AbstractHypergradient, *, written: bool) -> Callable[[Problem], Parameters]:
    def run(given: Problem) -> Parameters:
        loss = given.written if written else given.automatic
        return method(loss, given.outer_loss, given.inner, given.outer).outer_grad

    return run


def by_betty(solve: Callable[..., Any]) -> Callable[[Problem], Parameters]:
    """Betty's own function, with stand-ins for the two problems that it asks for."""

    def run(given: Problem) -> Parameters:
        inner = {name: value.detach().requires_grad_() for name, value in given.inner.items()}
        outer = {name: value.detach().requires_grad_() for name, value in given.outer.items()}
        vector = torch.autograd.grad(given.outer_loss(inner, outer), list(inner.values()))
        config = SimpleNamespace(
            cg_iterations=PRODUCTS, cg_alpha=1.0, neumann_iterations=PRODUCTS, neumann_alpha=0.05
        )
        lower = SimpleNamespace(
            paths=[],
            config=config,
            cur_batch=None,
            training_step_exec=lambda batch: given.damped(inner, outer),
            parameters=lambda: list(inner.values()),
            trainable_parameters=lambda: list(inner.values()),
        )
        upper = SimpleNamespace(trainable_parameters=lambda: list(outer.values()))
        return dict(zip(outer, solve(vector, lower, upper), strict=True))

    return run


def by_torchopt(make: Callable[..., Any]) -> Callable[[Problem], Parameters]:
    """Torchopt's decorator, which takes and gives tuples of tensors."""

    def run(given: Problem) -> Parameters:
        inner_names, names = list(given.inner), list(given.outer)
        outer = [given.outer[name].detach().requires_grad_() for name in names]

        def loss(inner: tuple[Tensor, ...], *outer: Tensor) -> Tensor:
            return given.damped(
                dict(zip(inner_names, inner, strict=True)), dict(zip(names, outer, strict=True))
            )

        root = torchopt.diff.implicit.custom_root(
            torch.func.grad(loss),
            argnums=tuple(range(1, 1 + len(names))),
            solve=make(maxiter=PRODUCTS, rtol=0.0, atol=0.0),
        )
        solved = root(lambda inner, *outer: inner)(tuple(given.inner.values()), *outer)
        parameters = dict(zip(inner_names, solved, strict=True))
        value = given.outer_loss(parameters, dict(zip(names, outer, strict=True)))
        return dict(zip(names, torch.autograd.grad(value, outer), strict=True))

    return run


OURS: dict[str, Any] = {"damping": DAMPING, "on_failure": "return"}
EXACT_CG = ConjugateGradient(max_iter=PRODUCTS, rtol=0.0, **OURS)
CALLS: dict[str, Callable[[Problem], Parameters]] = {
    "conjugate-gradient": ours(EXACT_CG, written=True),
    "conjugate-gradient, any network": ours(EXACT_CG, written=False),
    "gauss-newton": ours(GaussNewton(max_iter=PRODUCTS, rtol=0.0, **OURS), written=True),
    "gauss-newton, any network": ours(
        GaussNewton(max_iter=PRODUCTS, rtol=0.0, **OURS), written=False
    ),
    "neumann": ours(Neumann(terms=PRODUCTS, **OURS), written=True),
    "nystrom": ours(Nystrom(rank=PRODUCTS, curvature="gauss-newton", **OURS), written=True),
    "identity": ours(Identity(scale=0.1), written=True),
    "unrolled": ours(Unrolled(steps=PRODUCTS), written=True),
    "betty cg": by_betty(betty_cg),
    "betty neumann": by_betty(betty_neumann),
    "torchopt cg": by_torchopt(torchopt.linear_solve.solve_cg),
    "torchopt normal cg": by_torchopt(torchopt.linear_solve.solve_normal_cg),
}


# Quality -------------------------------------------------------------------------------------


@cache
def truth(size: str, gauss_newton_matrix: bool) -> Tensor:
    """The solution of the damped linear system, in float64."""
    given = problem(size, torch.float64, shifted=True)
    if size == "small":
        name: CurvatureName = "gauss-newton" if gauss_newton_matrix else "hessian"
        method: AbstractHypergradient = Exact(max_size=5000, damping=DAMPING, curvature=name)
    else:
        kind = GaussNewton if gauss_newton_matrix else ConjugateGradient
        method = kind(max_iter=5000, rtol=1e-10, damping=DAMPING)
    return given.solution(ours(method, written=True)(given))


def quality(size: str, name: str) -> dict[str, float]:
    """Relative error of the solution, and relative residual of its system, in float64."""
    of_gauss_newton = name.startswith("gauss-newton") or name == "nystrom"
    shifted = problem(size, shifted=True)
    found = shifted.solution(CALLS[name](shifted)).double()
    exact, given = truth(size, of_gauss_newton), problem(size, torch.float64)
    matrix = gauss_newton if of_gauss_newton else hessian
    product = matrix(given.written, Point.at(given.inner, given.outer)).product

    def damped(vector: Tensor) -> Tensor:
        return product(vector.unsqueeze(0)).squeeze(0) + DAMPING * vector

    right = damped(exact)
    return {
        "error": float((found - exact).norm() / exact.norm()),
        "residual": float((damped(found) - right).norm() / right.norm()),
    }


def peak_megabytes(run: Callable[[], object]) -> float:
    """Memory that a call needs on top of what is there, by Linux's own peak counter."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) / 1024


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def seconds(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Shortest time of each, measured in turn, so that a busy minute meets them all."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            start = process_time()
            run()
            times[name].append(process_time() - start)
    return {name: min(each[1:]) for name, each in times.items()}


def about(benchmark: BenchmarkFixture, size: str) -> None:
    benchmark.extra_info.update(
        size="-".join(map(str, SIZES[size])),
        rows=ROWS,
        products=PRODUCTS,
        dtype="float32",
        device="cpu",
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        torchopt=torchopt.__version__,
    )


@pytest.mark.parametrize("size", SIZES)
def test_hypergradients_in_turn(benchmark: BenchmarkFixture, size: str) -> None:
    given = problem(size)
    benchmark.group = f"hypergradient, {size}"
    about(benchmark, size)
    runs: dict[str, Callable[[], object]] = {
        name: lambda call=call: call(given)  # type: ignore[misc]
        for name, call in CALLS.items()
    }
    found: dict[str, float] = benchmark.pedantic(
        seconds, ({"plain": given.gradient} | runs, 4), rounds=1
    )
    plain = min(found.pop("plain"), seconds({"plain": given.gradient}, 20)["plain"])
    benchmark.extra_info["plain_milliseconds"] = 1e3 * plain
    for name, run in runs.items():
        benchmark.extra_info[name] = {
            "milliseconds": 1e3 * found[name],
            "plain_gradients": found[name] / plain,
            "peak_megabytes": peak_megabytes(run),
            **quality(size, name),
        }


@pytest.mark.parametrize("activation", ["ReLU", "Tanh", "GELU"])
@pytest.mark.parametrize("size", SIZES)
def test_products_in_plain_gradients(
    benchmark: BenchmarkFixture, size: str, activation: str
) -> None:
    """All four kinds of products and the plain gradient, in turn."""
    given = problem(size, activation=activation)
    point = Point.at(given.inner, given.outer)
    kinds = {
        "hessian, linear stack": hessian(given.written, point),
        "hessian, any network": hessian(given.automatic, point),
        "gauss-newton, linear stack": gauss_newton(given.written, point),
        "gauss-newton, any network": gauss_newton(given.automatic, point),
    }
    vector = next(iter(kinds.values())).inner_gradient.clone()
    runs: dict[str, Callable[[], object]] = {
        name: lambda each=each: each.product(vector)  # type: ignore[misc]
        for name, each in kinds.items()
    }
    benchmark.group = f"products, {size}, {activation}"
    about(benchmark, size)
    found: dict[str, float] = benchmark.pedantic(
        seconds, ({"plain": given.gradient} | runs, 40), rounds=1
    )
    benchmark.extra_info["milliseconds_plain"] = 1e3 * found["plain"]
    for name in kinds:
        benchmark.extra_info[name] = found[name] / found["plain"]
