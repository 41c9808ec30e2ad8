from dataclasses import replace

import pandas as pd
import pytest
import torch

from dfl.config import read_study
from dfl.data import (
    Bias,
    CouponSimulator,
    HybridData,
    HybridRecipe,
    SimulatedExperiment,
    UpliftData,
    load,
    pair_hybrid,
    to_hybrid,
)
from dfl.errors import ConfigError, InvalidValueError, UnknownNameError

RECIPE = HybridRecipe(policy=0.1, pool=0.4, rct=0.2, validation=0.1, test=0.2)
BIASED = replace(RECIPE, bias=Bias(feature="x0", strength=2.0))


def experiment(rows: int = 20_000) -> UpliftData:
    return CouponSimulator().draw(rows, generator=torch.Generator().manual_seed(3))


def cut(bias: Bias, data: UpliftData | None = None, **recipe: object) -> HybridData:
    made = replace(RECIPE, bias=bias, **recipe)  # type: ignore[arg-type]  # options of the recipe
    return to_hybrid(experiment() if data is None else data, seed=0, recipe=made)


def seen(hybrid: HybridData) -> UpliftData:
    assert hybrid.obs is not None
    return hybrid.obs


@pytest.mark.parametrize("strength", [2.0, -2.0])
def test_the_policy_follows_the_feature(strength: float) -> None:
    obs = seen(cut(Bias(feature="x0", strength=strength, hidden=()), epsilon=0.0))
    mean = [float(obs.features[obs.treatment == arm, 0].mean()) for arm in (0, 4)]
    assert (mean[1] - mean[0]) * strength / 2 > 0.5  # in standard deviations of x0


def test_the_log_odds_rise_by_the_strength() -> None:
    data = experiment()
    encoder = CouponSimulator().encoder
    one = Bias(feature="x1", strength=1.5)
    row = data.features[:1].repeat(2, 1)
    row[1, 1] += float(data.features[:, 1].std(correction=0))
    plain = replace(one, strength=0.0).chances(data, row, encoder, 0.3).log()
    biased = one.chances(data, row, encoder, 0.3).log()
    added = (biased - plain).diff(dim=0)[0]
    steps = added.diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 1.5 / 4))
    assert torch.allclose(biased.exp().sum(dim=1), torch.ones(2, dtype=torch.float64))


def test_what_the_policy_follows_is_hidden_from_all_parts() -> None:
    hybrid = cut(Bias(feature="x0"))
    parts = [hybrid.rct, hybrid.obs, hybrid.validation, hybrid.test]
    for part in parts:
        assert part is not None
        assert part.features.shape[1] == 19
        assert part.feature_names == tuple(f"x{column}" for column in range(1, 20))
        assert part.truth is not None
    kept = cut(Bias(feature="x0", hidden=()))
    assert kept.rct is not None
    assert torch.equal(kept.rct.features[:, 1:], hybrid.rct.features)


def test_logs_mislead_where_a_feature_that_moves_outcomes_is_hidden() -> None:
    """Regressed on what is left, they overrate deep discounts: who has more x4 buys more."""

    def effect(rows: UpliftData) -> float:
        x = torch.cat([rows.features, torch.ones(len(rows), 1)], dim=1).double()
        dose = (rows.treatment.double() / 4)[:, None]
        found = torch.linalg.lstsq(torch.cat([dose, x], dim=1), rows.revenue.double()[:, None])
        return float(found.solution[0, 0])

    data = experiment(60_000)
    hidden, shown = (cut(Bias(feature="x4", hidden=names), data) for names in (None, ()))
    truth = effect(hidden.test)
    assert effect(seen(hidden)) - truth > 1.5
    assert abs(effect(seen(shown)) - truth) < 1.0


def test_known_chances_undo_the_bias() -> None:
    data = experiment(60_000)
    obs = seen(cut(Bias(feature="x0"), data, known_propensity=True, epsilon=0.3))
    assert obs.propensity is not None
    for arm in (0, 4):
        own = obs.treatment == arm
        mean = float((obs.weight * obs.revenue)[own].sum() / obs.weight[own].sum())
        error = float(data.revenue[data.treatment == arm].std()) / int(own.sum()) ** 0.5
        assert abs(mean - float(data.revenue[data.treatment == arm].mean())) < 6 * error


def test_the_seed_decides_and_other_recipes_are_untouched() -> None:
    first, again = (seen(cut(Bias(feature="x0"))).features for _ in range(2))
    assert torch.equal(first, again)
    other = to_hybrid(experiment(), seed=1, recipe=BIASED)
    assert not torch.equal(first[:50], seen(other).features[:50])


def test_all_features_of_a_hidden_column_go_with_it() -> None:
    table = pd.DataFrame(
        {
            "kind": ["a", "b", "c"] * 200,
            "age": [float(row % 90) / 2 for row in range(600)],
            "arm": [row % 2 for row in range(600)],
            "sales": [float(row % 7) for row in range(600)],
        }
    )
    recipe = replace(RECIPE, bias=Bias(feature="kind=b", strength=1.0))
    rows = load(table, treatment="arm", revenue="sales", cost={0: 0.0, 1: 1.0}, recipe=recipe)
    hybrid = rows.hybrid(0)
    assert hybrid.encoder is not None
    assert hybrid.encoder.feature_names == ("age",)
    assert hybrid.test.features.shape[1] == 1
    assert hybrid.encoder.encode(table).shape == (600, 1)


def test_a_configuration_says_it_and_it_is_written_back() -> None:
    bias = {"feature": "x0", "strength": 1.0, "hidden": ["x0", "x1"]}
    data = {
        "name": "simulated-experiment",
        "simulator": {"name": "coupon"},
        "rows": 3000,
        "recipe": {"policy": 0.1, "pool": 0.4, "rct": 0.2, "validation": 0.1, "bias": bias}
        | {"test": 0.2},
    }
    study = read_study({"method": "tsm-sl", "data": data})
    assert study.config["data"]["recipe"]["bias"] == bias
    assert isinstance(study.data, SimulatedExperiment)
    assert study.data.hybrid(0).test.features.shape[1] == 18
    with pytest.raises(ConfigError, match=r"bias\.feature is required"):
        read_study({"method": "tsm-sl", "data": data | {"recipe": {"bias": {"strength": 1}}}})


@pytest.mark.parametrize(
    ("bias", "kind", "message"),
    [
        (Bias(feature="X0"), UnknownNameError, "bias: .*'X0'"),
        (Bias(feature="x0", hidden=("y",)), UnknownNameError, "bias.hidden: .*'y'"),
        (
            Bias(feature="x0", hidden=tuple(f"x{k}" for k in range(20))),
            InvalidValueError,
            "bias.hidden takes every column",
        ),
    ],
)
def test_names_that_are_not_there(bias: Bias, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        cut(bias)


def test_what_cannot_be_biased() -> None:
    with pytest.raises(InvalidValueError, match="strength must be a number, got nan"):
        Bias(feature="x0", strength=float("nan"))
    with pytest.raises(InvalidValueError, match=r"bias is a way to make .* got make_obs false"):
        replace(BIASED, make_obs=False)
    rows = experiment(2000)
    with pytest.raises(InvalidValueError, match="these rows have no feature_names"):
        cut(Bias(feature="x0"), replace(rows, feature_names=()))
    constant = replace(rows, features=rows.features * 0)
    with pytest.raises(InvalidValueError, match="'x0' is the same in all 200 rows"):
        cut(Bias(feature="x0"), constant)
    with pytest.raises(InvalidValueError, match="a policy of your own or a recipe with bias"):
        to_hybrid(rows, seed=0, recipe=BIASED, policy=lambda x: x[:, 0].long())
    with pytest.raises(InvalidValueError, match="got observational rows; leave bias out"):
        pair_hybrid(rows, replace(rows, source="obs"), seed=0, recipe=BIASED)
    with pytest.raises(InvalidValueError, match="got a split that makes none"):
        pair_hybrid(rows, None, seed=0, recipe=BIASED)
    table = pd.DataFrame({"x0": [0.0, 1.0] * 50, "arm": [0, 1] * 50, "sales": 1.0, "chance": 0.5})
    logs = load(table, treatment="arm", revenue="sales", cost={0: 0.0, 1: 1.0}, source="obs")
    with pytest.raises(InvalidValueError, match="got observational rows; leave bias out"):
        replace(logs, recipe=BIASED).hybrid(0)
