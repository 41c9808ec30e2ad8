"""The quadrature's kernels against plain torch, and float32 against float64."""

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.testing import assert_close

from dfl.kernels import triton_kernels
from dfl.layers.perturbed.expected_choice import normal_choice

pytest.importorskip("triton", reason="needs the extra triton")

SIZES = [(1, 1), (37, 2), (70, 5), (33, 8), (17, 33)]
ERROR = {torch.float32: 1.5e-6, torch.float64: 1e-13}


def both(values: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
    values = values.detach().requires_grad_()
    chance = normal_choice(values)
    return chance.detach(), torch.autograd.grad(chance, values, vector)[0]


@pytest.mark.parametrize("size", SIZES)
def test_chances_and_products_are_the_same(
    size: tuple[int, int], dtype: torch.dtype, device: torch.device, generator: torch.Generator
) -> None:
    drawn = torch.randn(2, *size, generator=generator, dtype=torch.float64)
    values, vector = (drawn * torch.tensor([2.0, 1.0])[:, None, None]).to(device, dtype)
    exact = both(values.double(), vector.double())
    with triton_kernels():
        found = both(values, vector)
    for one, truth in zip(found, exact, strict=True):
        assert one.dtype == dtype
        assert float((one - truth).abs().max()) < ERROR[dtype]
    assert_close(found[0].sum(-1), torch.ones_like(found[0][:, 0]), atol=2e-6, rtol=0)


def test_ties_and_far_entries_give_numbers(dtype: torch.dtype, device: torch.device) -> None:
    rows = [[0.0, 0.0, 0.0], [1e6, 0.0, -1e6], [-30.0, -30.0, 0.0], [5e4, 5e4, 5e4 - 9]]
    values = torch.tensor(rows, dtype=dtype, device=device)
    vector = torch.tensor([1.0, -2.0, 3.0], dtype=dtype, device=device).expand(4, 3)
    with triton_kernels():
        found = both(values, vector)
    assert_close(found, both(values, vector), atol=1e-6, rtol=0)
    expected = torch.tensor([[1 / 3] * 3, [1, 0, 0], [0, 0, 1], [0.5, 0.5, 0]])
    assert_close(found[0], expected.to(found[0]), atol=1e-6, rtol=0)


def test_leading_axes_layout_and_nobody(device: torch.device) -> None:
    values = torch.rand(2, 3, 5, 4, dtype=torch.float64, device=device).transpose(0, 2)
    with triton_kernels():
        found, none = normal_choice(values), normal_choice(values[:0])
    assert_close(found, normal_choice(values))
    assert none.shape == (0, 3, 2, 4)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_derivatives_of_both_modes_and_orders_are_the_same(generator: torch.Generator) -> None:
    drawn = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)

    def all_of_them() -> tuple[Tensor, ...]:
        values, vector, tangent = (one.clone().requires_grad_() for one in drawn)
        product = torch.autograd.grad(normal_choice(values), values, vector, create_graph=True)[0]
        twice = torch.autograd.grad(product, (values, vector), tangent)
        with forward_ad.dual_level():
            dual = normal_choice(forward_ad.make_dual(values.detach(), tangent.detach()))
            pushed = forward_ad.unpack_dual(dual).tangent.clone()
        return product.detach(), *twice, pushed, torch.func.vmap(normal_choice)(values.detach())

    expected = all_of_them()
    with triton_kernels():
        found = all_of_them()
    assert_close(found, expected, rtol=1e-9, atol=1e-12)
