"""The causal forest as a method."""

import sys
from dataclasses import replace

import pytest
import torch

from dfl.errors import InvalidValueError, MissingExtraError
from dfl.methods import METHODS, TsmCf
from dfl.models import CausalForestModel
from tests.methods.toy import ARMS, logs, outcomes

SMALL = TsmCf(rows="rct", trees=8, min_leaf=10)


def test_the_rows_of_the_table_are_names() -> None:
    for name, rows in (("tsm-cf-rct", ("rct",)), ("tsm-cf-obs", ("obs",))):
        assert METHODS.make(name, trees=8).uses == rows
    assert TsmCf().uses == ("rct", "obs")


def test_effects_of_a_known_world_are_found() -> None:
    test = logs(500, seed=5)
    found = TsmCf(rows="rct", trees=40, min_leaf=10).fit(rct=logs(3_000, seed=1))
    assert isinstance(found, CausalForestModel)
    predicted, (revenue, cost) = found.predict(test.features), outcomes(test.features)
    error = (predicted.revenue - revenue).square().mean(), (predicted.cost - cost).square().mean()
    plain = revenue.var(dim=0, correction=0).mean(), cost.var(dim=0, correction=0).mean()
    assert float(error[0]) < 0.15 * float(plain[0])
    assert float(error[1]) < 0.1 * float(plain[1])


def test_logs_are_corrected_for_who_was_treated() -> None:
    test, biased = logs(500, seed=5), logs(4_000, source="obs", seed=2)
    effect = TsmCf(rows="obs", trees=40, min_leaf=10).fit(obs=biased).predict(test.features).revenue
    effect = (effect[:, 2] - effect[:, 0]).mean()
    truth = outcomes(test.features)[0]
    truth = (truth[:, 2] - truth[:, 0]).mean()
    arms = [biased.revenue[biased.treatment == arm].mean() for arm in (0, 2)]
    assert abs(float(effect - truth)) < 0.25 * abs(float(arms[1] - arms[0] - truth))


def test_what_is_learned_hangs_on_no_unit() -> None:
    rct = logs(300, seed=1)
    plain = SMALL.fit(rct=rct).predict(rct.features)
    other = replace(
        rct, features=rct.features * 2.0**-40, revenue=rct.revenue * 128, cost=rct.cost / 1_024
    )
    found = SMALL.fit(rct=other).predict(other.features)
    assert torch.allclose(found.revenue / 128, plain.revenue, atol=1e-5)
    assert torch.allclose(found.cost * 1_024, plain.cost, atol=1e-5)


def test_a_single_row_of_a_treatment_is_refused() -> None:
    rct = logs(100, seed=1)
    first = (rct.treatment == 2).nonzero()[1:, 0]
    kept = torch.ones(100, dtype=torch.bool)
    kept[first] = False
    with pytest.raises(InvalidValueError, match="two rows of every treatment, got 1"):
        SMALL.fit(rct=rct.subset(kept))


def test_a_forest_needs_two_treatments_and_a_feature() -> None:
    rct = logs(100, seed=1)
    alone = replace(rct, treatment=torch.zeros_like(rct.treatment), treatments=1)
    for one, found in ((alone, "1 and 4"), (replace(rct, features=rct.features[:, :0]), "3 and 0")):
        with pytest.raises(InvalidValueError, match=f"two treatments and one feature.* {found}"):
            SMALL.fit(rct=one)


def test_a_known_chance_is_not_learned() -> None:
    rct = logs(300, seed=1)
    assert SMALL._causal_forest([rct], ARMS, 2, 0).model_t.strategy == "prior"
    obs = logs(300, source="obs", seed=1)
    assert SMALL._causal_forest([rct, obs], ARMS, 2, 0).model_t.n_estimators == 8


def test_a_tree_grows_on_so_many_rows_at_most() -> None:
    rct = logs(1_000, seed=1)
    nodes = []
    for most in (100, 8_192):
        found = replace(SMALL, min_leaf=5, max_samples=most).fit(rct=rct)
        assert isinstance(found, CausalForestModel)
        nodes.append([len(trees.feature) for trees in (found.level, found.effects[0])])
    for few, many in zip(*nodes, strict=True):
        assert few <= 8 * (2 * 100 // 5)  # leaves of five rows at least
        assert few < many / 2


def test_options_are_checked() -> None:
    with pytest.raises(InvalidValueError, match=r"trees must be .*4, got 3"):
        TsmCf(trees=3)
    with pytest.raises(InvalidValueError, match="min_leaf"):
        TsmCf(min_leaf=0)
    with pytest.raises(InvalidValueError, match=r"max_samples must be .*100, got 99"):
        TsmCf(max_samples=99)


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "econml.dml", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dfl-toolkit\[forest\]'"):
        SMALL.fit(rct=logs(100, seed=1))
