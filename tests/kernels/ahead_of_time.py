"""Compile every kernel as its wrapper would call it, for GPUs that need not be there.

``python -m tests.kernels.ahead_of_time`` prints a line per kernel, dtype and architecture. Needs
triton, which brings its own assembler, and must not run where TRITON_INTERPRET is set.
"""

import functools
from collections.abc import Iterator
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget

from dfl.kernels import knapsack, normal_choice, received_share, simplex
from dfl.layers.perturbed.normal_nodes import nodes

ARCHITECTURES = (90,)
KINDS = {
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.int64: "*i64",
    torch.bool: "*i1",
}


class Compiled:
    """Stands where a kernel stands, and compiles it for the arguments of a launch."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return self.launch

    def launch(self, *given: Any, **options: Any) -> None:
        signature: dict[str, str] = {}
        constants: dict[str, Any] = {}
        for parameter, value in zip(self.kernel.params, given, strict=True):
            if isinstance(value, torch.Tensor):
                signature[parameter.name] = KINDS[value.dtype]
            elif parameter.is_constexpr or value == 1:  # as a launch specialises
                signature[parameter.name] = "constexpr"
                constants[parameter.name] = value
            else:
                signature[parameter.name] = "i32"
        source = triton.compiler.ASTSource(self.kernel, signature, constants)
        for architecture in ARCHITECTURES:
            target = GPUTarget("cuda", architecture, 32)
            made = triton.compile(
                source, target=target, options={"enable_fp_fusion": True} | options
            )
            assert made.asm["cubin"]
            print(self.kernel.__name__, signature_of(given), f"sm_{architecture}")


def signature_of(given: tuple[Any, ...]) -> str:
    return str(next(one.dtype for one in given if isinstance(one, torch.Tensor))).split(".")[1]


def calls(dtype: torch.dtype, rows: int, arms: int) -> Iterator[functools.partial[Any]]:
    """Every wrapper, with something to call it with."""
    amount = torch.rand(rows, arms, dtype=dtype)
    column, price = amount[:, 0].contiguous(), amount[:1, 0].clone()
    treatment = torch.zeros(1, rows, dtype=torch.int64)
    yield functools.partial(knapsack.decide, amount, amount, 0.5)
    yield functools.partial(knapsack.sift, amount, amount, 0.4, 0.5)
    received = received_share
    three = amount[None], amount[None]
    yield functools.partial(received.received_and_shares, *three, price, price, treatment)
    shares = amount.mT.contiguous()[None]
    yield functools.partial(received.pull_back, column[None], price, treatment, shares)
    yield functools.partial(received.weighted_sums, *(column[None],) * 3)
    yield functools.partial(received.weighted_sums_slope, price, price, column[None], column[None])
    yield functools.partial(normal_choice.choose, amount, nodes(amount))
    yield functools.partial(normal_choice.multiply, amount, amount, nodes(amount))
    yield functools.partial(simplex.project, shares, torch.empty_like(shares))


def main() -> None:
    for module in (knapsack, normal_choice, received_share, simplex):
        for name in LAUNCHED & vars(module).keys():
            setattr(module, name, Compiled(getattr(module, name)))
    for dtype in (torch.float32, torch.float64):
        for rows, arms in ((1000, 5), (1, 1)):
            for call in calls(dtype, rows, arms):
                call()


LAUNCHED = {
    "_decide", "_sift", "_shares", "_pull", "_sums", "_sums_slope", "_choose", "_multiply",
    "_project",
}  # fmt: skip

if __name__ == "__main__":
    main()
