"""The regularisers: optimum, bonus and Jacobian fit together; the projection on the simplex."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.layers.regularised.regulariser import (
    AbstractRegulariser,
    Entropy,
    SquaredNorm,
    jacobian_product,
    project_on_simplex,
)


def by_sorting(scores: Tensor) -> Tensor:
    ordered = scores.sort(dim=0, descending=True).values
    counts = torch.arange(1, scores.shape[0] + 1)[:, None]
    thresholds = (ordered.cumsum(dim=0) - 1) / counts
    last = (ordered > thresholds).sum(dim=0) - 1
    return (scores - thresholds.gather(0, last[None])).clamp_min(0)


@pytest.mark.parametrize("arms", [1, 2, 3, 5, 8, 13, 16, 33])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e3])
def test_it_is_the_projection_by_sorting(
    arms: int, size: float, generator: torch.Generator
) -> None:
    scores = size * torch.randn(arms, 300, generator=generator, dtype=torch.float64)
    scores[-1] = scores[0]  # ties
    kept = scores.clone()
    assert_close(project_on_simplex(scores), by_sorting(scores), atol=1e-12, rtol=0)
    assert_close(scores, kept, rtol=0, atol=0)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e8, 1e30])
def test_columns_add_up_to_one_in_float32(size: float, generator: torch.Generator) -> None:
    shares = project_on_simplex(size * torch.randn(2, 8, 900, generator=generator))
    assert bool((shares >= 0).all())
    assert_close(shares.sum(dim=1), torch.ones(2, 900))


def test_a_point_of_the_simplex_stays_where_it_is() -> None:
    inside = torch.tensor([[0.2, 0.0], [0.5, 1.0], [0.3, 0.0]], dtype=torch.float64)
    assert_close(project_on_simplex(inside), inside)


both_regularisers = pytest.mark.parametrize(
    "regulariser", [SquaredNorm(), Entropy()], ids=["quad", "soft"]
)


@both_regularisers
def test_the_weights_give_the_jacobian(
    regulariser: AbstractRegulariser, generator: torch.Generator
) -> None:
    scores, way = torch.randn(2, 4, 6, generator=generator, dtype=torch.float64)
    step = 1e-7
    ahead, behind = (regulariser.shares(scores + sign * step * way) for sign in (1, -1))
    found = jacobian_product(regulariser.weights(regulariser.shares(scores)), way)
    assert_close(found, (ahead - behind) / (2 * step), atol=1e-7, rtol=1e-6)


@both_regularisers
def test_the_best_value_has_the_shares_as_its_gradient(
    regulariser: AbstractRegulariser, generator: torch.Generator
) -> None:
    """Danskin: so scores, shares and bonus belong to one problem."""
    scores, way = torch.randn(2, 4, 6, generator=generator, dtype=torch.float64)

    def best(at: torch.Tensor) -> torch.Tensor:
        shares = regulariser.shares(at)
        return (at * shares).sum(dim=0) + regulariser.bonus(shares)

    step = 1e-6
    rise = (best(scores + step * way) - best(scores - step * way)) / (2 * step)
    assert_close(rise, (regulariser.shares(scores) * way).sum(dim=0), atol=1e-8, rtol=1e-6)
