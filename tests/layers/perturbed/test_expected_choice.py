"""The exact choice under normal noise: against a fine quadrature, known cases, derivatives."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.errors import DTypeError, InvalidValueError, ShapeError
from dfl.layers.perturbed.expected_choice import (
    expected_choice,
    expected_maximum,
    normal_choice,
    normal_maximum,
)

forward_mode = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")


def reference(values: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and expected maximum by 1,000 nodes in float64."""
    values = values.double()
    top = values.amax(dim=-1, keepdim=True)
    places = torch.linspace(-9, 11, 1001, dtype=torch.float64)
    u = (top + places).unsqueeze(-1) - values.unsqueeze(-2)  # (..., nodes, M)
    cumulative = 0.5 * torch.erfc(-u / math.sqrt(2))
    ratio = torch.exp(-u * u / 2) / math.sqrt(2 * math.pi) / cumulative
    density = cumulative.prod(dim=-1, keepdim=True) * ratio * (places[1] - places[0])
    at = (top + places) * density.sum(dim=-1)
    return density.sum(dim=-2), at.sum(dim=-1)


def draw(*shape: int, spread: float = 1.5) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return spread * torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("entries", [1, 2, 3, 8, 16, 17, 60, 400])
@pytest.mark.parametrize("spread", [0.0, 1.0, 5.0, 100.0])
def test_the_quadrature_is_as_exact_as_it_says(
    entries: int, spread: float, dtype: torch.dtype
) -> None:
    values = draw(4, entries, spread=spread).to(dtype)
    shares, maximum = reference(values)
    limit = 3e-6 if dtype == torch.float32 else 1e-10
    assert float((normal_choice(values) - shares).abs().max()) < limit
    rounding = 1e-6 * float(maximum.abs().max()) if dtype == torch.float32 else 1e-10
    assert float((normal_maximum(values) - maximum).abs().max()) < 10 * limit + rounding
    assert_close(normal_choice(values).sum(dim=-1), torch.ones(4, dtype=dtype), rtol=0, atol=3e-5)


@pytest.mark.parametrize("entries", [2, 8, 16, 60])
def test_the_product_with_the_jacobian_is_exact_in_float32(entries: int) -> None:
    values, vector = draw(200, entries), draw(200, entries, spread=1).flip(0)
    exact = torch.func.vjp(normal_choice, values.float().double())[1](vector)[0]
    found = torch.func.vjp(normal_choice, values.float())[1](vector.float())[0]
    assert float((found - exact).abs().max()) < 1e-5


def test_two_entries_have_a_closed_form() -> None:
    values = draw(50, 2)
    better = 0.5 * torch.erfc((values[:, 1] - values[:, 0]) / 2)  # sd of the difference is sqrt 2
    assert_close(normal_choice(values)[:, 0], better)


def test_equal_entries_have_known_maxima() -> None:
    """The expected largest of 2 and 3 standard normals is known in closed form."""
    known = [1 / math.sqrt(math.pi), 1.5 / math.sqrt(math.pi)]
    found = [normal_maximum(torch.zeros(n, dtype=torch.float64)) for n in (2, 3)]
    assert_close(torch.stack(found), torch.tensor(known, dtype=torch.float64))


def test_a_constant_changes_nothing_and_far_entries_have_no_share(dtype: torch.dtype) -> None:
    values = draw(30, 5).to(dtype)
    assert_close(normal_choice(values + 8), normal_choice(values), atol=1e-5, rtol=0)
    far = torch.tensor([0.0, -1e4, 1e4], dtype=dtype)
    assert_close(normal_choice(far), torch.tensor([0.0, 0, 1], dtype=dtype), atol=1e-8, rtol=1e-5)


@forward_mode
def test_all_derivatives_are_right() -> None:
    values = draw(3, 4).requires_grad_()
    assert torch.autograd.gradcheck(normal_choice, values, check_forward_ad=True)
    assert torch.autograd.gradcheck(normal_maximum, values, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(normal_choice, values, check_fwd_over_rev=True)
    assert torch.autograd.gradgradcheck(normal_maximum, values)


@forward_mode
def test_the_jacobian_is_symmetric_and_its_rows_add_up_to_zero() -> None:
    values = draw(7)
    reverse, forward = (
        torch.func.jacrev(normal_choice)(values),
        torch.func.jacfwd(normal_choice)(values),
    )
    assert_close(reverse, forward)
    assert_close(reverse, reverse.T)
    assert_close(reverse.sum(dim=1), torch.zeros(7, dtype=torch.float64))


def test_a_mapped_hessian_is_the_loop() -> None:
    values = draw(4, 3)

    def loss(row: Tensor) -> Tensor:
        return normal_choice(row).square().sum()

    hessian = torch.func.jacrev(torch.func.jacrev(loss))
    mapped = torch.func.vmap(hessian)(values)
    assert_close(mapped, torch.stack([hessian(row) for row in values]))
    third = torch.autograd.functional.hessian(loss, values[0])
    assert_close(mapped[0], third)


@pytest.mark.parametrize("shape", [(0, 4), (4,), (2, 0, 3), (2, 3, 4, 5)])
def test_any_leading_axes_even_empty_ones(shape: tuple[int, ...]) -> None:
    values = draw(*shape).requires_grad_()
    shares = normal_choice(values)
    assert shares.shape == shape
    assert normal_maximum(values).shape == shape[:-1]
    (slope,) = torch.autograd.grad(shares.square().sum(), values)
    assert slope.shape == shape
    flat = normal_choice(values.reshape(-1, shape[-1]))
    assert_close(shares.reshape(-1, shape[-1]), flat)


def test_rows_cut_into_parts_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values, vector = draw(37, 5), draw(37, 5).flip(0)
    whole = torch.func.vjp(normal_choice, values)[1](vector)[0], normal_maximum(values)
    monkeypatch.setattr("dfl.layers.perturbed.expected_choice._ON_CPU", 20)
    parts = torch.func.vjp(normal_choice, values)[1](vector)[0], normal_maximum(values)
    assert_close(parts, whole)


def test_noise_and_values_that_are_none_are_refused() -> None:
    values: Any = torch.randn(2, 3)
    wrong: Any = "gauss"
    for call in (expected_choice, expected_maximum):
        with pytest.raises(InvalidValueError, match="noise must be one of 'gumbel', 'normal'"):
            call(values, wrong)
        for noise in ("gumbel", "normal"):
            with pytest.raises(DTypeError, match=r"values must be floating point, got torch.int64"):
                call(values.long(), noise)
            with pytest.raises(DTypeError, match="values must be a tensor, got list"):
                call(values.tolist(), noise)
            with pytest.raises(ShapeError, match=r"must have one entry at least, got \(2, 0\)"):
                call(values[:, :0], noise)


def test_half_precision_is_worked_on_in_float32() -> None:
    values = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).half()
    assert_close(normal_choice(values), normal_choice(values.float()).half())
    assert_close(normal_maximum(values), normal_maximum(values.float()).half())
