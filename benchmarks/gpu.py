"""Checks and times of everything that has a kernel or trains, on one GPU; see gpu.sh.

``python -m benchmarks.gpu [--device cuda] [--small] [--output FOLDER]`` writes ``gpu.json`` and the
table ``gpu.md`` into a folder, anew after each row, so that a run cut short keeps what it has.
``--small`` takes few rows, to see that all of it runs; on the CPU kernels are interpreted, which
shows that they are right and nothing of their speed.

Times are the shortest of some rounds, each waited for. A kernel's share of copy bandwidth is the
time that a copy of as many bytes takes, as the device copies a large tensor, over the time of the
call; bytes are those that any implementation must read and write once.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

if {"cpu", "--device=cpu"} & set(sys.argv):  # before a kernel is defined
    os.environ["TRITON_INTERPRET"] = "1"

from benchmarks import full_scale
from dfl.hypergrad import ComposedLoss, ConjugateGradient, GaussNewton, LinearStack, Parameters
from dfl.io import write_bytes, write_json
from dfl.kernels import triton_kernels
from dfl.layers import Price, Softmax, Softness
from dfl.layers.perturbed.expected_choice import normal_choice
from dfl.layers.regularised.regulariser import project_on_simplex
from dfl.layers.softmax import received_share
from dfl.losses import LoggedBatch, PrimalPolicy
from dfl.problem import AllocationProblem
from dfl.solvers import GreedyDual
from dfl.solvers.passes import passes_for

Row = dict[str, Any]
FOLDER = Path(__file__).parent / "results"
PRODUCTS, DAMPING = 50, 0.3
PACKAGES = ("torch", "triton", "numpy", "numba", "pyarrow", "betty-ml", "torchopt")


class Bench:
    """One run: where, how large, and what has been found."""

    def __init__(self, device: str, small: bool, output: Path) -> None:
        self.device, self.small, self.output = torch.device(device), small, output
        self.on_gpu = self.device.type == "cuda"
        self.start, self.parts = time.perf_counter(), dict[str, list[Row]]()
        self.draw = torch.Generator(self.device).manual_seed(0)

    def rand(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.rand(shape, generator=self.draw, dtype=dtype, device=self.device)

    def wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()

    def seconds(self, run: Callable[[], object], rounds: int = 5) -> float:
        """Shortest time of some rounds after one that compiles."""
        taken = []
        for _ in range(2 if self.small else 1 + rounds):
            self.wait()
            start = time.perf_counter()
            run()
            self.wait()
            taken.append(time.perf_counter() - start)
        return min(taken[1:])

    def bandwidth(self) -> float:
        """Bytes per second of a large copy, read and written."""
        source = torch.ones(1 << (20 if self.small else 28), device=self.device)
        target = torch.empty_like(source)
        return 2 * source.numel() * 4 / self.seconds(lambda: target.copy_(source))

    def keep(self, part: str, rows: Iterator[Row]) -> None:
        """Run a part row by row; write everything down after each, a failure included."""
        found = self.parts.setdefault(part, [])
        print(f"\n## {part}", flush=True)
        try:
            for row in rows:
                found.append(row)
                self.write()
                print("  ".join(f"{key} {_shown(value)}" for key, value in row.items()), flush=True)
        except Exception as error:  # one part must not take the others along
            found.append({"name": "failed", "why": f"{type(error).__name__}: {error}"})
            print("failed:", found[-1]["why"], flush=True)
        self.write()

    def write(self) -> None:
        about = {
            "device": torch.cuda.get_device_name() if self.on_gpu else "cpu",
            "small": self.small,
            "interpreted": not self.on_gpu,
            "seconds": time.perf_counter() - self.start,
            "packages": {name: _version(name) for name in PACKAGES},
        }
        self.output.mkdir(parents=True, exist_ok=True)
        write_json(self.output / "gpu.json", {**about, "parts": self.parts})
        tables = [f"# {about['device']}{', few rows' if self.small else ''}\n"]
        for part, rows in self.parts.items():
            names = list(dict.fromkeys(name for row in rows for name in row))
            tables += [f"\n## {part}\n", f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
            cells = ([_shown(row.get(name, "")) for name in names] for row in rows)
            tables += [f"| {' | '.join(each)} |" for each in cells]
        write_bytes(self.output / "gpu.md", ("\n".join(tables) + "\n").encode())


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


# What is timed: a call, by plain torch and by kernels --------------------------------------


def calls(bench: Bench, rows: int, arms: int, dtype: torch.dtype) -> Iterator[tuple[str, Any, int]]:
    """Name, call that returns tensors, and the bytes that it must read and write."""
    revenue, cost = bench.rand(rows, arms, dtype=dtype), bench.rand(rows, arms, dtype=dtype)
    size, passes = revenue.element_size(), lambda: passes_for("auto", bench.device)
    numbers = rows * arms * size

    def sift() -> list[Tensor]:
        found = passes().sift(revenue, cost, 0.7, 0.7001)
        return [] if found is None else [found.choice, found.others]

    yield "decide", lambda: [passes().decide(revenue, cost, 0.5)], 2 * numbers + 8 * rows
    yield "bracket pass", sift, 2 * numbers + 8 * rows
    treatment = torch.arange(rows, device=bench.device) % arms
    price, tau = bench.rand(2, dtype=dtype) + 0.1
    both = [revenue.clone().requires_grad_(), cost.clone().requires_grad_()]

    def received() -> list[Tensor]:
        return [received_share(revenue, cost, price, tau, treatment)]

    yield "received share", received, 2 * numbers + 8 * rows + rows * size
    outcome, paid, weight = bench.rand(3, rows, dtype=dtype) + 0.1
    batch = LoggedBatch(treatment, outcome, paid, weight)
    layer = Softmax(softness=Softness(0.3, "absolute"), price=Price(multiplier=0.7))
    loss = PrimalPolicy(layer=layer)

    def ppl() -> list[Tensor]:
        return list(torch.autograd.grad(loss(*both, batch, 1.0), both))

    yield "PPL with gradient", ppl, 4 * numbers + 8 * rows + 3 * rows * size
    scores = (4 * bench.rand(rows, arms, dtype=dtype)).requires_grad_()

    def choice() -> list[Tensor]:
        chance = normal_choice(scores)
        return [chance.detach(), torch.autograd.grad(chance, scores, revenue)[0]]

    yield "perturbed argmax with gradient", choice, 5 * numbers
    turned = scores.detach().mT.contiguous()
    yield "projection on the simplex", lambda: [project_on_simplex(turned)], 2 * numbers


def checks(bench: Bench) -> Iterator[Row]:
    """Every kernel against its eager twin on this device."""
    for dtype in (torch.float32, torch.float64):
        for rows, arms in (
            ((70, 1), (257, 5)) if bench.small else ((1, 1), (10_001, 5), (9_999, 33))
        ):
            for name, call, _ in calls(bench, rows, arms, dtype):
                expected = call()
                with triton_kernels():
                    found = call()
                pairs = [pair for pair in zip(found, expected, strict=True) if pair[0].numel()]
                off = [float((one - other).abs().max()) for one, other in pairs]
                whole = not found or not found[0].is_floating_point()
                # A loss weighs each row by one in so many.
                limit = 0 if whole else 3e-6 if dtype == torch.float32 else 1e-12
                far = max(off, default=0.0)
                passed = far <= limit and all(bool(one.isfinite().all()) for one in found)
                kind = str(dtype).removeprefix("torch.")
                yield {"name": name, "rows": rows, "treatments": arms, "dtype": kind,
                       "largest difference": far, "passed": passed}  # fmt: skip
    many = market(bench, 20_000 if bench.small else 300_000, 8)
    home = AllocationProblem(many.revenue.cpu(), many.cost.cpu(), float(many.budgets[0]))
    truth = GreedyDual(backend="torch").solve(home)
    for backend in ("torch", "triton"):
        found = GreedyDual(backend=backend).solve(many)  # type: ignore[arg-type]
        off = abs(float(found.upper_bound) / float(truth.upper_bound) - 1)
        yield {"name": f"greedy-dual, {backend}", "rows": many.rows, "treatments": 8,
               "dtype": "float32", "largest difference": off, "passed": off < 1e-11}  # fmt: skip


def kernels(bench: Bench) -> Iterator[Row]:
    """Times as a share of copy bandwidth."""
    bandwidth = bench.bandwidth()
    yield {"name": "copy", "GB/s": bandwidth / 1e9}
    for rows, arms in (
        ((300, 4),) if bench.small else ((1_000_000, 8), (10_000_000, 8), (1_000_000, 32))
    ):
        for name, call, size in calls(bench, rows, arms, torch.float32):
            row: Row = {"name": name, "rows": rows, "treatments": arms}
            for kind, within in (("plain", nullcontext), ("triton", triton_kernels)):
                with within():
                    taken = bench.seconds(call)
                row |= {f"{kind} ms": 1e3 * taken, f"{kind} share": size / bandwidth / taken}
            yield row


def market(bench: Bench, rows: int, arms: int) -> AllocationProblem:
    """Make people whose costs rise and whose revenue flattens."""
    cost = bench.rand(rows, arms)
    cost[:, 0] = 0
    cost = cost.cumsum(1)
    fading = 0.7 ** torch.arange(arms, device=bench.device)
    revenue = bench.rand(rows, arms).mul_(fading).cumsum(1)
    return AllocationProblem(revenue, cost, float(cost[:, -1].sum(dtype=torch.float64)) / 3)


def knapsack(bench: Bench) -> Iterator[Row]:
    """The exact solver, and the checks of the problem before it."""
    bandwidth = bench.bandwidth()
    for rows, arms in ((20_000, 4),) if bench.small else ((10_000_000, 8), (100_000_000, 4)):
        many = market(bench, rows, arms)
        size = 2 * many.revenue.numel() * 4
        given = (many.revenue, many.cost, float(many.budgets[0]))
        row: Row = {"rows": rows, "treatments": arms, "inputs read once ms": 1e3 * size / bandwidth}
        row["checks ms"] = 1e3 * bench.seconds(lambda g=given: AllocationProblem(*g))
        for backend in ("torch", "triton"):
            solver = GreedyDual(backend=backend)  # type: ignore[arg-type]
            if bench.on_gpu:
                torch.cuda.reset_peak_memory_stats()
            row[f"{backend} ms"] = 1e3 * bench.seconds(lambda s=solver, m=many: s.solve(m), 3)
            if bench.on_gpu:
                row[f"{backend} peak GB"] = torch.cuda.max_memory_allocated() / 1e9
        yield row
        del many, given


# Hypergradients beside other packages ------------------------------------------------------


def hypergradients(bench: Bench) -> Iterator[Row]:
    """Fifty products on an MLP with a weight per row, damped, in float32."""
    rows, widths = (256, (6, 8, 4)) if bench.small else (4096, (180, 128, 64, 32, 16))
    torch.manual_seed(0)
    layers = [part for pair in pairwise(widths) for part in (nn.Linear(*pair), nn.Tanh())]
    network = nn.Sequential(*layers[:-1]).to(bench.device)
    features, targets = bench.rand(rows, widths[0]) - 0.5, bench.rand(rows, widths[-1])
    inner = {name: value.detach().clone() for name, value in network.named_parameters()}
    outer = {"log_weight": 0.1 * bench.rand(rows)}

    def criterion(found: Tensor, outer: Parameters) -> Tensor:
        return (outer["log_weight"].exp().unsqueeze(1) * (found - targets) ** 2).mean()

    def outer_loss(inner: Parameters, outer: Parameters) -> Tensor:
        return ((functional_call(network, inner, (features,)) - targets.square()) ** 2).mean()

    written = ComposedLoss(LinearStack(network, features), criterion)

    def damped(inner: Parameters, outer: Parameters) -> Tensor:
        loss = criterion(functional_call(network, inner, (features,)), outer)
        anchors = {name: value.detach() for name, value in given.items()}
        return loss + sum(DAMPING / 2 * ((inner[n] - a) ** 2).sum() for n, a in anchors.items())

    given = inner

    def plain() -> object:
        leaves = [value.detach().requires_grad_() for value in inner.values()]
        loss = criterion(
            functional_call(network, dict(zip(inner, leaves, strict=True)), (features,)), outer
        )
        return torch.autograd.grad(loss, leaves)

    base = bench.seconds(plain)
    yield {"name": "one gradient", "ms": 1e3 * base, "gradients": 1.0}
    options: Row = {"max_iter": PRODUCTS, "rtol": 0.0, "damping": DAMPING, "on_failure": "return"}
    for name, kind in (("conjugate-gradient", ConjugateGradient), ("gauss-newton", GaussNewton)):
        method = kind(**options)
        taken = bench.seconds(lambda m=method: m(written, outer_loss, inner, outer))
        yield {"name": name, "ms": 1e3 * taken, "gradients": taken / base}
    for name, peer in (("betty", by_betty), ("torchopt", by_torchopt)):
        try:
            taken = bench.seconds(peer(damped, outer_loss, inner, outer))
        except ImportError as error:
            yield {"name": name, "why": f"not installed ({error})"}
        else:
            yield {"name": name, "ms": 1e3 * taken, "gradients": taken / base}


def by_betty(
    damped: Any, outer_loss: Any, inner: Parameters, outer: Parameters
) -> Callable[[], object]:
    """Betty's own function, with stand-ins for the two problems that it asks for."""
    from betty.hypergradient.cg import cg

    def run() -> object:
        lower = {name: value.detach().requires_grad_() for name, value in inner.items()}
        upper = {name: value.detach().requires_grad_() for name, value in outer.items()}
        vector = torch.autograd.grad(outer_loss(lower, upper), list(lower.values()))
        leaves = lambda: list(lower.values())  # noqa: E731
        below = SimpleNamespace(
            paths=[],
            config=SimpleNamespace(cg_iterations=PRODUCTS, cg_alpha=1.0),
            cur_batch=None,
            training_step_exec=lambda batch: damped(lower, upper),
            parameters=leaves,
            trainable_parameters=leaves,
        )
        return cg(vector, below, SimpleNamespace(trainable_parameters=lambda: list(upper.values())))

    return run


def by_torchopt(
    damped: Any, outer_loss: Any, inner: Parameters, outer: Parameters
) -> Callable[[], object]:
    """Torchopt's decorator, which takes and gives tuples of tensors."""
    import torchopt

    solve = torchopt.linear_solve.solve_cg(maxiter=PRODUCTS, rtol=0.0, atol=0.0)
    start = tuple(inner.values())

    def run() -> object:
        leaves = [value.detach().requires_grad_() for value in outer.values()]

        def loss(inner_values: tuple[Tensor, ...], *values: Tensor) -> Tensor:
            lower = dict(zip(inner, inner_values, strict=True))
            return damped(lower, dict(zip(outer, values, strict=True)))  # type: ignore[no-any-return]

        optimality = torch.func.grad(loss)
        argnums = tuple(range(1, 1 + len(leaves)))
        root = torchopt.diff.implicit.custom_root(optimality, argnums=argnums, solve=solve)
        solved = root(lambda lower, *_: lower)(start, *leaves)
        lower = dict(zip(inner, solved, strict=True))
        value = outer_loss(lower, dict(zip(outer, leaves, strict=True)))
        return torch.autograd.grad(value, leaves, allow_unused=True)

    return run


# Training ----------------------------------------------------------------------------------


def training(bench: Bench, until: float) -> Iterator[Row]:
    """The main methods at full scale, and their time over TSM-SL's, while time is left."""
    sizes, settings = (
        (full_scale.SMALL, full_scale.QUICK)
        if bench.small
        else (full_scale.SIZES, full_scale.TRAINING)
    )
    draw, rows = full_scale.rows_on(sizes, str(bench.device))
    base = 0.0
    for name in ("tsm-sl", *(one for one in full_scale.ROWS if one != "tsm-sl")):
        if time.perf_counter() - bench.start > until:
            yield {"name": name, "why": "no time left"}
            continue
        found = full_scale.measure(name, rows, draw, settings, str(bench.device))
        base = base or found["seconds"]
        yield {"name": name, **found, "over tsm-sl": found["seconds"] / base}


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="few rows: does all of it run?")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of gpu.json and gpu.md")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("no CUDA device is there; --device cpu --small tries everything without one")
    bench = Bench(options.device, options.small, options.output)
    bench.keep("checks", checks(bench))
    bench.keep("kernels", kernels(bench))
    bench.keep("exact knapsack", knapsack(bench))
    bench.keep("hypergradients", hypergradients(bench))
    bench.keep("training", training(bench, until=360.0))
    rows = [row for found in bench.parts.values() for row in found]
    print(
        f"\n{time.perf_counter() - bench.start:.0f} s; wrote {options.output}/gpu.json and gpu.md"
    )
    if any(row.get("name") == "failed" or row.get("passed") is False for row in rows):
        raise SystemExit("something failed or differs: see the table")


if __name__ == "__main__":
    main()
