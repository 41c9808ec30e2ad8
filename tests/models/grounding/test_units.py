"""Logs that count outcomes of treatments otherwise than the experiment."""

from dataclasses import replace

import pytest
import torch

from dfl.models.grounding.evidence import Evidence
from dfl.models.grounding.units import units_of_logs


def evidence(rows: int = 2_000, *, buying: float = 0.5, sign: float = 1.0) -> Evidence:
    """Purchases beside their expectation; the logs are of people who spend three times as much."""
    generator = torch.Generator().manual_seed(0)
    logged = torch.arange(rows) % 3 > 0
    size = 1 + 2 * logged + torch.rand(rows, generator=generator)
    bought = torch.rand(rows, generator=generator) < buying
    return Evidence(
        predicted=sign * (buying * size)[:, None].repeat(1, 2),
        outcome=sign * size * bought,
        treatment=torch.randint(2, (rows,), generator=generator),
        features=torch.zeros(rows, 1),
        logged=logged,
    )


def counted(one: Evidence, *factors: float) -> Evidence:
    """Multiply the logs' outcomes by a factor for each treatment."""
    times = torch.tensor(factors)[one.treatment]
    return replace(one, outcome=torch.where(one.logged, times, 1) * one.outcome)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("factor", [100.0, 8.0, 3.0, 0.3, 0.01])
def test_units_are_found_whoever_is_in_the_logs(factor: float, sign: float) -> None:
    one = evidence(sign=sign)
    found = units_of_logs(counted(one, factor, factor)).tolist()
    assert found == pytest.approx([factor, factor], rel=0.1)
    other = counted(one, factor, 1)
    assert units_of_logs(other).tolist() == [pytest.approx(factor, rel=0.1), 1]
    blended = replace(other, predicted=one.predicted * torch.tensor([0.7 * factor, 0.9]))
    assert units_of_logs(blended).tolist() == [pytest.approx(factor, rel=0.1), 1]


@pytest.mark.parametrize("factor", [1.0, 2.2, 0.45])
def test_bias_and_other_people_are_no_unit(factor: float) -> None:
    assert units_of_logs(counted(evidence(), factor, 1)).tolist() == [1, 1]


def test_a_treatment_of_few_outcomes_counts_as_all_do() -> None:
    one = evidence()
    rare = (one.treatment == 1) & (torch.arange(len(one.treatment)) > 30)
    few = replace(one, treatment=torch.where(rare, 0, one.treatment))
    found = units_of_logs(counted(few, 99, 99)).tolist()
    assert found == pytest.approx([99, 99], rel=0.1)
    assert units_of_logs(counted(few, 1, 99)).tolist() == [1, 1]


def test_units_are_not_read_from_few_or_no_outcomes() -> None:
    few = evidence(150, buying=0.1)
    assert units_of_logs(counted(few, 99, 99)).tolist() == [1, 1]
    sparse = evidence(400, buying=0.1)  # some ten outcomes: a factor of 3 may be chance
    assert units_of_logs(counted(sparse, 3, 3)).tolist() == [1, 1]
    one = evidence()
    for none in (
        replace(one, outcome=torch.where(one.logged, one.outcome, 0)),
        replace(one, outcome=torch.where(one.logged, 0, one.outcome)),
        replace(one, predicted=torch.zeros_like(one.predicted)),
        one.rows(~one.logged),
    ):
        assert units_of_logs(none).tolist() == [1, 1]
