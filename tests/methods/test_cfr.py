"""CFR: two distances between arms, their limits, and the loss they join."""

import pytest
import torch
from torch.nn.functional import one_hot
from torch.testing import assert_close

from dfl.errors import InvalidValueError
from dfl.methods import METHODS, Cfr
from dfl.methods.cfr import mean_discrepancy, sinkhorn
from dfl.models import ArmHeads
from tests.methods.toy import ONCE, factual_errors, found, logs

NETWORK = ArmHeads((8,), (4,))


def received(*arms: int) -> torch.Tensor:
    return one_hot(torch.tensor([arms]), 3).double()


def test_mean_discrepancy_by_hand() -> None:
    hidden = torch.tensor([[[0.0, 0], [2, 0], [4, 0], [1, 3]]], dtype=torch.float64)
    # Means: (1, 0) without treatment, (4, 0) and (1, 3) with: 9 apart each.
    assert_close(mean_discrepancy(hidden, received(0, 0, 1, 2)), hidden.new_tensor([9.0]))
    # Two arms alone: treatment 2 has no rows, and (4, 0), (1, 3) average to (2.5, 1.5).
    assert_close(mean_discrepancy(hidden, received(0, 0, 1, 1)), hidden.new_tensor([2.25 + 2.25]))


def test_wasserstein_by_hand() -> None:
    hidden = torch.tensor([[[0.0, 0], [3, 4], [0, 2]]], dtype=torch.float64)
    assert_close(sinkhorn(hidden, received(0, 1, 2)), hidden.new_tensor([(5 + 2) / 2]))


def test_wasserstein_is_nearly_the_sorted_distance_on_a_line() -> None:
    generator = torch.Generator().manual_seed(0)
    line = torch.randn(1, 100, 1, generator=generator, dtype=torch.float64)
    line[:, 50:] += 3.0
    arms = received(*[0] * 50, *[1] * 50)
    exact = (line[0, :50, 0].sort().values - line[0, 50:, 0].sort().values).abs().mean()
    assert float(sinkhorn(line, arms)[0]) == pytest.approx(float(exact), rel=0.02)


@pytest.mark.parametrize("distance", [mean_discrepancy, sinkhorn])
def test_one_arm_alone_is_apart_from_nothing(distance) -> None:  # type: ignore[no-untyped-def]
    hidden = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(1))
    assert_close(distance(hidden, torch.ones(2, 6, 1)), torch.zeros(2))


@pytest.mark.parametrize("distance", [mean_discrepancy, sinkhorn])
def test_each_network_has_its_own_distance_and_an_absent_arm_none(distance) -> None:  # type: ignore[no-untyped-def]
    hidden = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    arms = torch.cat((received(0, 0, 1, 1, 2, 2), received(1, 1, 1, 2, 2, 2))).float()
    value = distance(hidden, arms)
    alone = distance(hidden[:1], arms[:1])
    assert float(value[0].detach()) > 0 == float(value[1].detach())
    assert_close(value[:1], alone)
    (slope,) = torch.autograd.grad(value.sum(), hidden)
    assert bool(slope.isfinite().all())
    assert not bool(slope[1].any())


@pytest.mark.parametrize("distance", ["mmd", "wasserstein"])
def test_the_loss_is_the_one_of_the_docstring(distance: str) -> None:
    rows = logs(200, source="obs", seed=2, dtype=torch.float64)
    model = Cfr(network=NETWORK, training=ONCE, distance=distance, alpha=0.5).fit(obs=rows)  # type: ignore[arg-type]
    counts = rows.treatment.bincount(minlength=3)
    weight = (200 / (3 * counts))[rows.treatment]
    hidden = found(model, rows)["hidden"][None]
    between = mean_discrepancy if distance == "mmd" else sinkhorn
    apart = between(hidden, one_hot(rows.treatment, 3)[None].double())
    expected = (weight * factual_errors(model, rows)).mean() + 0.5 * apart[0]
    assert model.history["target"][0]["loss"] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -1.0}, "alpha must be >= 0, got -1"),
        ({"distance": "far"}, "distance must be one of 'mmd', 'wasserstein', got 'far'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        Cfr(**options)  # type: ignore[arg-type]


def test_the_names_are_the_two_distances() -> None:
    for name, distance in (("cfr-mmd", "mmd"), ("cfr-wass", "wasserstein")):
        made = METHODS.make(name)
        assert isinstance(made, Cfr)
        assert made.distance == distance
