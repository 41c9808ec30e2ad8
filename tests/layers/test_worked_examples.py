"""Known results of the literature in miniature, on shortest paths and on the best k of many."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dfl.layers import (
    ImplicitMleDecision,
    InterpolatedDecision,
    PerturbedDecision,
    StraightThroughDecision,
)
from dfl.losses import fenchel_young, regret, spo_plus
from tests.layers.problems import GridPath, TopK

SIDE, FEATURES = 4, 5
PATH = GridPath(SIDE)
Loss = Callable[[Tensor, Tensor], Tensor]


def paths(seed: int, degree: int, rows: int) -> tuple[Tensor, Tensor]:
    """Features and cell values (minus costs) as Elmachtoub and Grigas draw them, with noise."""
    draw = torch.Generator().manual_seed(seed)
    mixing = (torch.rand(FEATURES, SIDE * SIDE, generator=draw) < 0.5).float()
    features = torch.randn(rows, FEATURES, generator=draw)
    cost = (features @ mixing / FEATURES**0.5 + 3) ** degree / 3.5**degree
    noise = 0.5 + torch.rand(rows, SIDE * SIDE, generator=draw)
    return features, -cost * noise


def train(loss: Loss, features: Tensor, truth: Tensor, steps: int = 200) -> nn.Linear:
    """Fit a linear model by Adam on all rows."""
    torch.manual_seed(0)
    model = nn.Linear(features.shape[1], truth.shape[1])
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(model(features), truth).backward()
        optimiser.step()
    return model


def lost(model: nn.Module, features: Tensor, truth: Tensor) -> float:
    """Regret as a share of what the best paths cost."""
    with torch.no_grad():
        missed = regret(model(features), truth, PATH).sum()
        return float(missed / (truth * PATH(truth)).sum().abs())


def squared(values: Tensor, truth: Tensor) -> Tensor:
    return (values - truth).square().mean()


def by_spo_plus(values: Tensor, truth: Tensor) -> Tensor:
    return spo_plus(values, truth, PATH).mean()


def gap_to_squared_error(degree: int, seeds: int) -> tuple[float, float]:
    """How much less SPO+ loses than the squared error: mean over seeds, standard error."""
    gains = []
    for seed in range(seeds):
        features, truth = paths(seed, degree, 1200)
        fit, held = slice(0, 200), slice(200, None)
        losses = [
            lost(train(loss, features[fit], truth[fit], steps=120), features[held], truth[held])
            for loss in (squared, by_spo_plus)
        ]
        gains.append(losses[0] - losses[1])
    found = torch.tensor(gains)
    return float(found.mean()), float(found.std()) / seeds**0.5


def test_spo_plus_loses_less_than_squared_error_where_the_model_is_wrong() -> None:
    """Degree 6, linear model: figure 2 of Elmachtoub and Grigas (2022), in miniature."""
    mean, error = gap_to_squared_error(degree=6, seeds=5)
    assert mean > 3 * error
    assert mean > 0.02


@pytest.mark.slow
def test_where_the_model_is_right_neither_loses_much() -> None:
    mean, error = gap_to_squared_error(degree=1, seeds=3)
    assert abs(mean) < 0.01 + 3 * error


DECISIONS = {
    "interpolation": InterpolatedDecision(PATH),
    "implicit-mle": ImplicitMleDecision(PATH, sigma=0.1, subset=2 * SIDE - 1, samples=1),
    "perturbed": PerturbedDecision(PATH, sigma=0.3, samples=20),
    "straight-through": StraightThroughDecision(PATH),
}


@pytest.mark.parametrize("name", [*DECISIONS, "fenchel-young"])
def test_imitating_paths_leads_to_almost_no_regret(name: str) -> None:
    """Noise-free and well specified: from the paths alone, values are never seen."""
    features, truth = paths(0, 1, 600)
    draw = torch.Generator().manual_seed(0)
    mixing = (torch.rand(FEATURES, SIDE * SIDE, generator=draw) < 0.5).float()
    truth = -(features @ mixing / FEATURES**0.5 + 3) / 3.5
    best = PATH(truth[:400])
    smooth = PerturbedDecision(PATH, sigma=0.3, samples=20)

    def loss(values: Tensor, _: Tensor) -> Tensor:
        if name == "fenchel-young":
            return fenchel_young(values, best, smooth.maximum).mean()
        return (DECISIONS[name](values) - best).square().mean()

    start = lost(train(loss, features[:400], truth[:400], steps=0), features[400:], truth[400:])
    end = lost(train(loss, features[:400], truth[:400], steps=80), features[400:], truth[400:])
    assert start > 0.05
    assert end < 0.1 * start


def test_implicit_mle_learns_which_k_are_chosen() -> None:
    """A linear map learns to choose 3 of 10 from the choices alone."""
    draw = torch.Generator().manual_seed(1)
    features = torch.randn(500, 6, generator=draw)
    best = TopK(3)(features @ torch.randn(6, 10, generator=draw))
    layer = ImplicitMleDecision(TopK(3), sigma=0.3, subset=3, samples=1)
    model = train(lambda v, _: (layer(v) - best[:400]).square().mean(), features[:400], best[:400])
    with torch.no_grad():
        right = (TopK(3)(model(features[400:])) * best[400:]).sum() / best[400:].sum()
    assert float(right) > 0.95
