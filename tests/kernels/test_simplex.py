"""The projection's kernel against plain torch, by itself and inside `Quadratic`."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.kernels import triton_kernels
from dfl.layers import Quadratic
from dfl.layers.regularised.regulariser import project_on_simplex

pytest.importorskip("triton", reason="needs the extra triton")

SHAPES = [(1, 1), (2, 300), (3, 5, 77), (8, 256), (33, 65), (2, 2, 3, 9)]


@pytest.mark.parametrize("size", [0.1, 3.0, 1e4])
@pytest.mark.parametrize("shape", SHAPES)
def test_projections_are_the_same(
    shape: tuple[int, ...], size: float, dtype: torch.dtype, device: torch.device
) -> None:
    draw = torch.Generator().manual_seed(1)
    scores = (size * torch.randn(shape, generator=draw, dtype=torch.float64)).to(device, dtype)
    before = scores.clone()
    with triton_kernels():
        found = project_on_simplex(scores)
    assert scores.equal(before)
    assert_close(found, project_on_simplex(scores), rtol=1e-6, atol=8 * torch.finfo(dtype).eps)
    assert_close(found.sum(dim=-2), torch.ones_like(found.sum(dim=-2)))


def test_ties_and_what_is_not_allowed(dtype: torch.dtype, device: torch.device) -> None:
    columns = [[1.0, 1.0, 1.0, 1.0], [0.0, -torch.inf, 0.0, -1.0], [-torch.inf] * 3 + [7.0]]
    scores = torch.tensor(columns, dtype=dtype, device=device).T
    with triton_kernels():
        found = project_on_simplex(scores)
    expected = torch.tensor([[0.25] * 4, [0.5, 0, 0.5, 0], [0, 0, 0, 1.0]]).to(found)
    assert_close(found.T, expected)


def test_results_are_written_where_they_are_to_go(device: torch.device) -> None:
    scores = torch.randn(2, 4, 50, device=device)
    whole = torch.zeros(2, 4, 90, device=device)
    expected = project_on_simplex(scores)
    with triton_kernels():
        project_on_simplex(scores, out=whole[..., 10:60])
    assert_close(whole[..., 10:60], expected)
    assert not whole[..., :10].any()
    assert not whole[..., 60:].any()


def test_gradients_do_not_pass_by_a_kernel() -> None:
    scores = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    with triton_kernels():
        assert torch.autograd.gradcheck(project_on_simplex, scores)


@pytest.mark.parametrize("masked", [False, True])
def test_the_layer_and_its_gradient_are_the_same(
    masked: bool, dtype: torch.dtype, device: torch.device
) -> None:
    draw = torch.Generator().manual_seed(3)
    revenue, cost = torch.rand(2, 301, 5, generator=draw, dtype=torch.float64).to(device, dtype)
    cost[:, 0] = 0
    allowed = torch.rand(301, 5, generator=draw) < 0.7
    allowed[:, 0] = True

    def both() -> tuple[Tensor, ...]:
        inputs = revenue.clone().requires_grad_(), cost.clone().requires_grad_()
        shares, multiplier = Quadratic()(
            *inputs, 40.0, allowed=allowed.to(device) if masked else None
        )
        slope = torch.linspace(-1, 1, shares.numel(), dtype=dtype, device=device)
        grads = torch.autograd.grad(shares, inputs, slope.view(shares.shape))
        return shares.detach(), multiplier.detach(), *grads

    expected = both()
    with triton_kernels():
        found = both()
    close = 2e-4 if dtype == torch.float32 else 1e-10  # of the multiplier that meets the budget
    assert_close(found, expected, rtol=close, atol=close)
