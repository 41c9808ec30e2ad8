from dataclasses import replace

import pytest
import torch

from dfl.data import CouponSimulator, UpliftData
from dfl.metrics import Estimate
from dfl.pipeline.today import Today
from dfl.stats import two_sided_p_value


def logs(rows: int = 300) -> UpliftData:
    generator = torch.Generator().manual_seed(0)
    return CouponSimulator().draw(rows, generator=generator, source="obs")


def test_means_of_logged_rows() -> None:
    obs = logs()
    today = Today.of(obs)
    assert today.rows == 300
    assert today.revenue == pytest.approx(float(obs.revenue.mean()))
    assert today.cost == pytest.approx(float(obs.cost.mean()))
    assert today.error == pytest.approx(float(obs.revenue.double().std(correction=0)) / 300**0.5)


def test_rows_of_a_group_count_together() -> None:
    obs = logs()
    alone = Today.of(replace(obs, groups=torch.arange(300)))
    assert alone.error == pytest.approx(Today.of(obs).error)
    twice = Today.of(obs.subset(torch.arange(300).repeat(2)))
    paired = replace(obs.subset(torch.arange(300).repeat(2)), groups=torch.arange(300).repeat(2))
    assert Today.of(paired).error == pytest.approx(alone.error)
    assert twice.error == pytest.approx(alone.error / 2**0.5)


def test_a_model_against_today_has_the_errors_of_both() -> None:
    ours = Estimate(5.0, 0.3, 4.0, 6.0, torch.zeros(2), 0)
    found = Today(100, 0.2, 4.0, 0.4).against(0.25, ours, 0.95)
    difference = found["difference"]
    assert difference["value"] == 1.0
    assert difference["standard_error"] == pytest.approx(0.5)
    assert difference["p_value"] == pytest.approx(two_sided_p_value(2.0))
    assert difference["low"] < 0.03 < difference["high"]
    assert (found["cost"], found["budget"], found["rows"]) == (0.2, 0.25, 100)
    exact = Today(100, 0.2, 4.0, 0.0).against(
        0.2, Estimate(4.0, 0.0, 4.0, 4.0, torch.zeros(2), 0), 0.95
    )
    assert exact["difference"]["p_value"] == 1.0
