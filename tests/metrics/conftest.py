from collections.abc import Callable

import pytest
import torch

from dfl.data.uplift_data import PotentialOutcomes, UpliftData

Simulate = Callable[..., UpliftData]


def _simulate(
    rows: int = 400,
    treatments: int = 3,
    *,
    seed: int = 0,
    noise: float = 1.0,
    rows_per_group: int = 0,
    known_propensity: bool = False,
) -> UpliftData:
    """Randomised rows with known truth: costs rise with the arm, returns fall."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    strength = draw(rows, 1)
    cost = torch.arange(treatments, dtype=torch.float64) * (0.8 + 0.4 * draw(rows, 1))
    revenue = 1 + strength + 3 * strength * cost.sqrt()
    probability = torch.linspace(1, 2, treatments, dtype=torch.float64)
    probability = (probability / probability.sum()).expand(rows, treatments)
    if known_propensity:
        tilt = 0.5 + draw(rows, treatments)
        probability = probability * tilt / (probability * tilt).sum(dim=1, keepdim=True)
    treatment = probability.multinomial(1, generator=generator).squeeze(1)
    shock = noise * torch.randn(rows, generator=generator, dtype=torch.float64)
    groups = None
    if rows_per_group:
        groups = torch.arange(rows) // rows_per_group
        shared = torch.randn(rows, generator=generator, dtype=torch.float64)
        shock = shock + 2 * noise * shared[groups]
    received = treatment[:, None]
    return UpliftData(
        features=strength,
        treatment=treatment,
        revenue=revenue.gather(1, received).squeeze(1) + shock,
        cost=cost.gather(1, received).squeeze(1),
        treatments=treatments,
        source="rct",
        propensity=probability if known_propensity else None,
        groups=groups,
        truth=PotentialOutcomes(revenue, cost),
    )


@pytest.fixture
def simulate() -> Simulate:
    """Make small randomised sets with known truth."""
    return _simulate


@pytest.fixture
def predict() -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """Make the predictions of a model: the truth with noise."""

    def noisy(
        data: UpliftData, noise: float = 0.5, seed: int = 1
    ) -> tuple[torch.Tensor, torch.Tensor]:
        assert data.truth is not None
        generator = torch.Generator().manual_seed(seed)
        shape, dtype = data.truth.revenue.shape, torch.float64
        revenue = data.truth.revenue + noise * torch.randn(shape, generator=generator, dtype=dtype)
        cost = data.truth.cost + 0.1 * noise * torch.rand(shape, generator=generator, dtype=dtype)
        return revenue, cost

    return noisy
