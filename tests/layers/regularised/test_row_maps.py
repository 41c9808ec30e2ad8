"""The regularisers: each optimum, its bonus and the weights of its Jacobian fit together."""

import pytest
import torch
from torch.testing import assert_close

from dfl.layers.regularised.row_maps import AbstractRowMap, Projection, RowSoftmax, spread

both_maps = pytest.mark.parametrize("row_map", [Projection(), RowSoftmax()], ids=["quad", "soft"])


@both_maps
def test_the_weights_give_the_jacobian(row_map: AbstractRowMap, generator: torch.Generator) -> None:
    scores, way = torch.randn(2, 4, 6, generator=generator, dtype=torch.float64)
    step = 1e-7
    ahead, behind = (row_map.shares(scores + sign * step * way) for sign in (1, -1))
    found = spread(row_map.weights(row_map.shares(scores)), way)
    assert_close(found, (ahead - behind) / (2 * step), atol=1e-7, rtol=1e-6)


@both_maps
def test_the_best_value_has_the_shares_as_its_gradient(
    row_map: AbstractRowMap, generator: torch.Generator
) -> None:
    """Danskin: so scores, shares and bonus belong to one problem."""
    scores, way = torch.randn(2, 4, 6, generator=generator, dtype=torch.float64)

    def best(at: torch.Tensor) -> torch.Tensor:
        shares = row_map.shares(at)
        return (at * shares).sum(dim=0) + row_map.bonus(shares)

    step = 1e-6
    rise = (best(scores + step * way) - best(scores - step * way)) / (2 * step)
    assert_close(rise, (row_map.shares(scores) * way).sum(dim=0), atol=1e-8, rtol=1e-6)
