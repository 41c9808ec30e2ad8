"""Costs that the experiment refutes are brought to its level; all others stay as predicted."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.models.grounding.cost_level import CostLevel
from dfl.models.grounding.evidence import Evidence

ROWS = 4_000


def rows(
    factor: tuple[float, ...],
    *,
    predicted: tuple[float, ...] = (0.0, 1.0, 2.0),
    chance: float = 0.25,
    trial: int = ROWS // 2,
    dtype: torch.dtype = torch.float32,
) -> Evidence:
    """Return rows whose cost is rarely there, and ``factor`` times what is predicted on average.

    The logs, all but the first ``trial`` rows, cost what is predicted.
    """
    generator = torch.Generator().manual_seed(0)
    treatment = torch.arange(ROWS) % len(factor)
    size = torch.rand(ROWS, generator=generator) + 0.5
    said = (size[:, None] * torch.tensor(predicted)).to(dtype)
    logged = torch.arange(ROWS) >= trial
    mean = said.gather(1, treatment[:, None]).squeeze(1)
    scale = torch.where(logged, 1.0, torch.tensor(factor)[treatment])
    paid = torch.rand(ROWS, generator=generator) < chance
    return Evidence(
        said, (mean * scale * paid / chance).to(dtype), treatment, size[:, None], logged
    )


def means(evidence: Evidence, values: Tensor) -> Tensor:
    """Return the mean of values over the experiment's rows, per treatment."""
    return torch.stack(
        [values[~evidence.logged & (evidence.treatment == arm)].mean() for arm in range(3)]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_levels_that_are_far_off_are_those_of_the_experiment(dtype: torch.dtype) -> None:
    evidence = rows((1.0, 0.2, 3.0), dtype=dtype)
    level = CostLevel.fit(evidence)
    assert level.changed.tolist() == [False, True, True]
    assert_close(level.offset, torch.zeros(3).double())
    served = level(evidence.predicted)
    assert served.dtype == dtype
    own = served.gather(1, evidence.treatment[:, None]).squeeze(1)
    assert_close(means(evidence, own), means(evidence, evidence.outcome), rtol=1e-5, atol=1e-6)
    spread = torch.ones(2, 3, dtype=dtype)
    assert_close(level.spread(spread), level.factor.to(dtype).expand(2, 3))


@pytest.mark.parametrize("factor", [(1.0, 1.0, 1.0), (1.0, 1.3, 0.8)])
def test_levels_that_are_about_right_stay(factor: tuple[float, ...]) -> None:
    evidence = rows(factor, chance=0.9)
    level = CostLevel.fit(evidence)
    assert not bool(level.changed.any())
    assert torch.equal(level(evidence.predicted), evidence.predicted)


def test_the_order_of_rows_does_not_matter() -> None:
    evidence = rows((1.0, 0.2, 3.0))
    shuffled = evidence.rows(torch.randperm(ROWS, generator=torch.Generator().manual_seed(1)))
    assert_close(CostLevel.fit(shuffled).factor, CostLevel.fit(evidence).factor)


def test_a_cost_that_nobody_predicted_is_the_mean() -> None:
    """Free in the logs, dear in the experiment: nothing says who costs more."""
    evidence = rows((1.0, 1.0, 1.0))
    free = Evidence(
        evidence.predicted * torch.tensor([1.0, 1.0, 0.0]),
        torch.where(evidence.logged & (evidence.treatment == 2), 0.0, evidence.outcome),
        evidence.treatment,
        evidence.features,
        evidence.logged,
    )
    level = CostLevel.fit(free)
    seen = means(evidence, evidence.outcome)
    assert level.changed.tolist() == [False, False, True]
    assert_close(level(free.predicted)[:, 2], seen[2].expand(ROWS))


def test_costs_are_never_below_zero() -> None:
    for factor in (0.0, 0.01, 0.3, 7.0, 50.0):
        level = CostLevel.fit(rows((1.0, 1.0, factor)))
        assert bool(level.changed[2])
        assert bool((level(torch.rand(100, 3)) >= 0).all())


def test_few_rows_without_a_cost_do_not_say_that_there_is_none() -> None:
    """One purchase in a hundred: thirty rows see none, and the logs know why."""
    evidence = rows((1.0, 0.0, 0.0), chance=0.01, trial=90)
    assert not bool(CostLevel.fit(evidence).changed.any())
    many = rows((1.0, 0.0, 0.0), chance=0.9, trial=90)
    assert CostLevel.fit(many).changed.tolist() == [False, True, True]
    fewer = rows((1.0, 0.0, 0.0), chance=0.9, trial=30)
    assert not bool(CostLevel.fit(fewer).changed.any())


def test_a_level_next_to_nothing_stays() -> None:
    """A coupon of one per cent may cost twice what was predicted: that decides nothing."""
    evidence = rows((1.0, 2.5, 1.0), predicted=(0.0, 0.02, 2.0), chance=0.9)
    assert not bool(CostLevel.fit(evidence).changed.any())


def test_an_experiment_alone_is_its_own_measure() -> None:
    evidence = rows((1.0, 0.2, 3.0), trial=ROWS)
    assert CostLevel.fit(evidence).changed.tolist() == [False, True, True]
