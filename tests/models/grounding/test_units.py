"""Logs whose outcomes are kept in another unit than the experiment's."""

from dataclasses import replace

import pytest
import torch

from dfl.models.grounding.evidence import Evidence
from dfl.models.grounding.units import unit_of_logs


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


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("factor", [100.0, 8.0, 0.01])
def test_a_unit_is_found_whoever_is_in_the_logs(factor: float, sign: float) -> None:
    one = evidence(sign=sign)
    other = replace(one, outcome=torch.where(one.logged, factor * one.outcome, one.outcome))
    assert unit_of_logs(other) == pytest.approx(factor, rel=0.1)
    blended = replace(other, predicted=one.predicted * 0.7 * factor)  # a model of both kinds
    assert unit_of_logs(blended) == pytest.approx(factor, rel=0.1)


@pytest.mark.parametrize("factor", [1.0, 3.0, 0.3])
def test_bias_and_other_people_are_no_unit(factor: float) -> None:
    one = evidence()
    assert unit_of_logs(replace(one, outcome=torch.where(one.logged, factor, 1) * one.outcome)) == 1


def test_a_unit_is_not_read_from_few_outcomes() -> None:
    few = evidence(300, buying=0.1)
    assert unit_of_logs(replace(few, outcome=torch.where(few.logged, 99.0, 1) * few.outcome)) == 1
    one = evidence()
    assert unit_of_logs(replace(one, outcome=torch.where(one.logged, one.outcome, 0))) == 1
    assert unit_of_logs(replace(one, outcome=torch.where(one.logged, 0, one.outcome))) == 1
    assert unit_of_logs(replace(one, predicted=torch.zeros_like(one.predicted))) == 1
    trial = ~one.logged
    assert unit_of_logs(one.rows(trial)) == 1
