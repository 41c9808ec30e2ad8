"""What holds for every simulator."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dfl.data import (
    AbstractSimulator,
    CouponSimulator,
    CriteoLikeSimulator,
    PartSizes,
    PotentialOutcomes,
    UpliftData,
)
from dfl.errors import InvalidValueError
from dfl.seeds import stream

SIZES = PartSizes(rct=3_000, obs=4_000, validation=1_000, test=2_000)
SIMULATORS: list[AbstractSimulator] = [
    CouponSimulator(sizes=SIZES),
    CriteoLikeSimulator(sizes=SIZES),
]
each = pytest.mark.parametrize("simulator", SIMULATORS, ids=lambda made: type(made).__name__)
MANY = 150_000


def truth_of(data: UpliftData) -> PotentialOutcomes:
    assert data.truth is not None
    return data.truth


def own(data: UpliftData, by_arm: Tensor) -> Tensor:
    """Expected outcome of the treatment received."""
    return by_arm.gather(1, data.treatment[:, None]).squeeze(1)


def z_of_difference(first: Tensor, second: Tensor) -> float:
    """Mean paired difference in standard errors."""
    difference = (first - second).double()
    return float(difference.mean() / (difference.std() / len(difference) ** 0.5))


@each
def test_parts_have_their_sizes_and_sources(simulator: AbstractSimulator) -> None:
    hybrid = simulator.hybrid(0)
    parts = (hybrid.rct, hybrid.obs, hybrid.validation, hybrid.test)
    assert [len(part) for part in parts] == [3_000, 4_000, 1_000, 2_000]
    assert [part.source for part in parts] == ["rct", "obs", "rct", "rct"]
    for part in parts:
        assert part.features.dtype == part.revenue.dtype == part.cost.dtype == torch.float32
        assert part.feature_names == simulator.feature_names
        assert part.treatment_names == simulator.treatment_names
        assert part.propensity is None
        assert truth_of(part).revenue.shape == (len(part), len(simulator.treatment_names))
    assert hybrid.encoder == simulator.encoder


@each
def test_a_seed_fixes_every_part_whatever_the_size_of_the_others(
    simulator: AbstractSimulator,
) -> None:
    first = simulator.hybrid(3)
    again = replace(simulator, sizes=replace(SIZES, obs=100)).hybrid(3)
    other = simulator.hybrid(4)
    for name in ("rct", "validation", "test"):
        same: UpliftData = getattr(again, name)
        part: UpliftData = getattr(first, name)
        assert torch.equal(part.features, same.features)
        assert torch.equal(part.revenue, same.revenue)
        assert torch.equal(part.cost, same.cost)
        assert not torch.equal(part.features, getattr(other, name).features)
    assert not torch.equal(first.rct.features[:1000], first.validation.features)


@each
def test_knobs_change_outcomes_but_not_people(simulator: AbstractSimulator) -> None:
    changed = replace(simulator, hidden_confounding=1.0, noise=0.5, confounding=2.0)
    first, second = (one.hybrid(0).test for one in (simulator, changed))
    assert torch.equal(first.features, second.features)
    assert torch.equal(truth_of(first).revenue, truth_of(second).revenue)
    assert not torch.equal(first.revenue, second.revenue)


@each
@pytest.mark.parametrize("hidden", [0.0, 1.0])
def test_observed_means_converge_to_the_truth(simulator: AbstractSimulator, hidden: float) -> None:
    simulator = replace(simulator, hidden_confounding=hidden)
    data = simulator.draw(MANY, generator=stream(0, "many"))
    truth = truth_of(data)
    large = data.features[:, 0] > data.features[:, 0].median()
    for arm in range(data.treatments):
        for people in (large, ~large):
            rows = people & (data.treatment == arm)
            assert abs(z_of_difference(data.revenue[rows], truth.revenue[rows, arm])) < 4
            assert abs(z_of_difference(data.cost[rows], truth.cost[rows, arm]) if arm else 0) < 4


@each
def test_without_noise_the_truth_is_seen(simulator: AbstractSimulator) -> None:
    data = replace(simulator, noise=0.0).hybrid(0).obs
    torch.testing.assert_close(data.revenue, own(data, truth_of(data).revenue))
    torch.testing.assert_close(data.cost, own(data, truth_of(data).cost))


@each
def test_noise_is_a_matter_of_degree(simulator: AbstractSimulator) -> None:
    spreads = []
    for noise in (0.0, 0.5, 1.0):
        data = replace(simulator, noise=noise).hybrid(0).test
        spreads.append(float((data.revenue - own(data, truth_of(data).revenue)).std()))
    assert spreads[0] < 1e-5
    assert spreads[1] == pytest.approx(spreads[2] / 2, rel=1e-4)


@each
@pytest.mark.parametrize("hidden", [0.0, 1.0])
def test_the_old_policy_biases_arm_means_and_its_chances_undo_that(
    simulator: AbstractSimulator, hidden: float
) -> None:
    simulator = replace(simulator, hidden_confounding=hidden, known_propensity=True)
    data = simulator.draw(MANY, generator=stream(1, "many"), source="obs")
    assert data.propensity is not None
    torch.testing.assert_close(
        data.propensity.mean(dim=0), data.arm_counts / len(data), atol=0.01, rtol=0
    )
    worst = 0.0
    for arm in range(data.treatments):
        rows = data.treatment == arm
        expected = truth_of(data).revenue[:, arm]
        weighted = torch.where(rows, data.weight * data.revenue, 0.0)
        assert abs(z_of_difference(weighted, expected)) < 4
        naive = float(data.revenue[rows].double().mean() / expected.double().mean())
        worst = max(worst, abs(naive - 1))
    assert worst > 0.2


@each
def test_without_confounding_the_old_policy_is_unbiased(simulator: AbstractSimulator) -> None:
    simulator = replace(simulator, confounding=0.0)
    data = simulator.draw(MANY, generator=stream(2, "many"), source="obs")
    for arm in range(data.treatments):
        received = truth_of(data).revenue[data.treatment == arm, arm].double()
        everyone = truth_of(data).revenue[:, arm].double()
        error = received.std() / len(received) ** 0.5
        assert abs(float((received.mean() - everyone.mean()) / error)) < 4


@each
def test_randomised_shares_can_be_chosen(simulator: AbstractSimulator) -> None:
    arms = len(simulator.treatment_names)
    uniform = simulator.draw(20_000, generator=stream(0, "shares"))
    assert (uniform.arm_counts / 20_000).tolist() == pytest.approx([1 / arms] * arms, abs=0.02)
    shares = (0.4, *((0.6 / (arms - 1),) * (arms - 1)))
    chosen = replace(simulator, rct_shares=shares, known_propensity=True)
    data = chosen.draw(20_000, generator=stream(0, "shares"))
    assert (data.arm_counts / 20_000).tolist() == pytest.approx(list(shares), abs=0.02)
    assert data.propensity is not None
    assert data.propensity[0].tolist() == pytest.approx(list(shares))


@each
def test_rows_beyond_one_batch_are_filled(simulator: AbstractSimulator) -> None:
    data = simulator.draw(66_000, generator=stream(0, "batches"))
    assert len(data.features.unique(dim=0)) > 0.3 * len(data)
    first, last = data.features[:464], data.features[-464:]
    assert not torch.equal(first, last)
    assert truth_of(data).cost[-464:].std() > 0


@each
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confounding": -1.0}, "confounding must be >= 0, got -1"),
        ({"confounding": float("inf")}, "confounding must be >= 0 and finite, got inf"),
        ({"hidden_confounding": 1.5}, r"hidden_confounding must be in \[0, 1\], got 1.5"),
        ({"noise": float("nan")}, r"noise must be in \[0, 1\], got nan"),
        ({"rct_shares": (1.0,)}, r"rct_shares must be . numbers > 0 that sum to 1, got \(1.0,\)"),
        ({"rct_shares": (0.0, 1.0, 0.0, 0.0, 0.0)}, "rct_shares must be"),
    ],
)
def test_bad_options_are_refused(
    simulator: AbstractSimulator, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidValueError, match=message):
        replace(simulator, **options)


@each
def test_too_few_rows_are_refused(simulator: AbstractSimulator) -> None:
    with pytest.raises(InvalidValueError, match="rows must be >= 1, got 0"):
        simulator.draw(0, generator=stream(0, "few"))
    with pytest.raises(InvalidValueError, match="every treatment must occur"):
        simulator.draw(1, generator=stream(0, "few"))


def test_sizes_are_at_least_one() -> None:
    with pytest.raises(InvalidValueError, match=r"sizes.obs must be >= 1, got 0"):
        PartSizes(obs=0)
    assert PartSizes.paper().obs == 3_500_000
