import numpy as np
import pytest

from dfl.abtest import Contrast
from dfl.abtest.state import State
from dfl.stats.arrays import Vector


def few(seed: int, *, factor: float = 1.0, treated: int = 20) -> Contrast:
    """Some of 400 lognormal units are treated, which multiplies what they have."""
    metric = np.random.default_rng(seed).lognormal(size=400)
    metric[:treated] *= factor
    return Contrast(treated=np.arange(400) < treated, outcome=metric)


def p_value(data: Contrast) -> float:
    return State().fit(data).diagnostics["check_p_value"]


def test_few_skewed_units_seldom_raise_an_alarm_where_there_is_no_effect() -> None:
    assert sum(p_value(few(seed)) < 0.05 for seed in range(60)) <= 5  # 15 by the parts alone


def test_an_effect_in_the_tail_of_few_units_is_told_from_that_of_the_bulk() -> None:
    assert sum(p_value(few(seed, factor=4, treated=40)) < 0.05 for seed in range(20)) >= 17


def test_clusters_are_dealt_whole() -> None:
    alarms = 0
    for seed in range(40):
        draw = np.random.default_rng(seed)
        cluster = np.repeat(np.arange(20), 10)
        treated = (draw.permutation(20) < 10)[cluster]
        metric = draw.standard_normal(200) + 3 * (draw.random(20) < 0.2)[cluster]
        alarms += p_value(Contrast(treated=treated, outcome=metric, clusters=cluster)) < 0.05
    assert alarms <= 5


@pytest.mark.parametrize("seed", [1, 29])
def test_order_sign_unit_and_names_of_the_arms_play_no_part(seed: int) -> None:
    data = few(seed)
    prediction: Vector = np.random.default_rng(9).standard_normal(400)
    order = np.random.default_rng(1).permutation(400)
    for known in (None, prediction):
        found = [
            p_value(
                Contrast(
                    treated=treated[rows],
                    outcome=outcome[rows],
                    prediction=None if known is None else known[rows],
                )
            )
            for treated, outcome, rows in (
                (data.treated, data.outcome, np.arange(400)),
                (data.treated, data.outcome, order),
                (data.treated, -data.outcome, np.arange(400)),
                (~data.treated, data.outcome, np.arange(400)),
                (data.treated, 7 * data.outcome + 1e6, np.arange(400)),
            )
        ]
        assert found == pytest.approx([found[0]] * 5, rel=1e-6)
