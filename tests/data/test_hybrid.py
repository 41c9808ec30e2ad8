from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dfl.data import (
    CouponSimulator,
    Held,
    HybridData,
    HybridRecipe,
    UpliftData,
    load,
    pair_hybrid,
    roi,
    roi_lift,
    to_hybrid,
)
from dfl.errors import DataError, InvalidValueError, ShapeError

Make = Callable[..., UpliftData]
RECIPE = HybridRecipe(policy=0.1, pool=0.4, rct=0.2, validation=0.1, test=0.2)


def ids(data: UpliftData) -> UpliftData:
    """Put the row number into the first feature, so that rows can be followed."""
    features = data.features.clone()
    features[:, 0] = torch.arange(len(data))
    return replace(data, features=features)


def parts(hybrid: HybridData) -> list[UpliftData]:
    return [hybrid.rct, hybrid.obs, hybrid.validation, hybrid.test]


def test_the_default_fractions_are_the_papers() -> None:
    assert HybridRecipe().fractions == (0.05, 0.50, 0.05, 0.10, 0.30)


def test_parts_have_their_fractions_and_share_no_row(make_rows: Make) -> None:
    data = ids(make_rows(3000))
    hybrid = to_hybrid(data, seed=0, recipe=RECIPE)
    assert [len(hybrid.rct), len(hybrid.validation), len(hybrid.test)] == [600, 300, 600]
    assert len(hybrid.obs) < 1200
    rows = torch.cat([part.features[:, 0] for part in parts(hybrid)])
    assert len(rows.unique()) == len(rows)
    assert [part.source for part in parts(hybrid)] == ["rct", "obs", "rct", "rct"]


def test_the_same_seed_gives_the_same_parts(make_rows: Make) -> None:
    data = make_rows(3000)
    first, again, other = (to_hybrid(data, seed=seed, recipe=RECIPE) for seed in (4, 4, 5))
    for part, same, different in zip(parts(first), parts(again), parts(other), strict=True):
        assert torch.equal(part.features, same.features)
        assert not torch.equal(part.features[:5], different.features[:5])


def test_groups_stay_in_one_part(make_rows: Make) -> None:
    hybrid = to_hybrid(make_rows(3000, groups=True), seed=0, recipe=RECIPE)
    groups = [set(part.groups.tolist()) for part in parts(hybrid) if part.groups is not None]
    assert len(groups) == 4
    assert sum(map(len, groups)) == len(set.union(*groups))


def always(treatment: int) -> Callable[[Tensor], Tensor]:
    return lambda features: torch.full((len(features),), treatment)


def test_without_epsilon_only_the_proposed_treatment_stays(make_rows: Make) -> None:
    def by_sign(features: Tensor) -> Tensor:
        return (features[:, 1] > 0).long() + (features[:, 1] > 1).long()

    recipe = replace(RECIPE, epsilon=0.0)
    obs = to_hybrid(make_rows(3000), seed=0, recipe=recipe, policy=by_sign).obs
    assert torch.equal(obs.treatment, by_sign(obs.features))


def test_a_hard_policy_that_never_gives_a_treatment_is_reported(make_rows: Make) -> None:
    recipe = replace(RECIPE, epsilon=0.0)
    with pytest.raises(InvalidValueError, match=r"no row with treatment \[0, 2\]"):
        to_hybrid(make_rows(3000), seed=0, recipe=recipe, policy=always(1))


@pytest.mark.parametrize("epsilon", [0.2, 1.0])
def test_epsilon_makes_treatments_overlap(make_rows: Make, epsilon: float) -> None:
    recipe = replace(RECIPE, epsilon=epsilon, known_propensity=True)
    obs = to_hybrid(make_rows(30_000), seed=0, recipe=recipe, policy=always(1)).obs
    expected = torch.tensor([epsilon / 3, 1 - epsilon * 2 / 3, epsilon / 3])
    shares = obs.arm_counts / len(obs)
    torch.testing.assert_close(shares, expected, atol=0.03, rtol=0)
    assert obs.propensity is not None
    torch.testing.assert_close(obs.propensity.mean(dim=0), expected, atol=0.01, rtol=0)


def test_unequal_arms_tilt_what_the_policy_leaves(make_rows: Make) -> None:
    data = make_rows(30_000)
    kept = (data.treatment > 0) | (torch.arange(len(data)) % 2 == 0)
    recipe = replace(RECIPE, epsilon=1.0, known_propensity=True)
    obs = to_hybrid(data.subset(kept), seed=0, recipe=recipe).obs
    assert obs.propensity is not None
    expected = torch.tensor([0.2, 0.4, 0.4])
    torch.testing.assert_close(obs.propensity.mean(dim=0), expected, atol=0.01, rtol=0)
    torch.testing.assert_close(obs.arm_counts / len(obs), expected, atol=0.03, rtol=0)


def test_propensity_is_unknown_unless_asked_for(make_rows: Make) -> None:
    assert to_hybrid(make_rows(3000), seed=0, recipe=RECIPE).obs.propensity is None


def rct(real_data: Path | None) -> UpliftData:
    """Hillstrom where it is found; otherwise randomised rows of the coupon simulator."""
    if real_data is not None and (real_data / "hillstrom.parquet").is_file():
        return load("hillstrom", path=real_data / "hillstrom.parquet").data
    print("hillstrom.parquet not found: checking on the coupon simulator instead")
    return CouponSimulator().draw(64_000, generator=torch.Generator().manual_seed(0))


def test_inverse_propensities_undo_the_choice_of_the_old_policy(real_data: Path | None) -> None:
    data = rct(real_data)
    recipe = HybridRecipe(epsilon=0.3, known_propensity=True)
    known = torch.cat([data.features, data.revenue[:, None], data.cost[:, None]], dim=1).double()
    weighted_errors, plain_errors = [], []
    for seed in range(3):
        obs = to_hybrid(data, seed=seed, recipe=recipe).obs
        kept = torch.cat([obs.features, obs.revenue[:, None], obs.cost[:, None]], dim=1).double()
        for arm in range(1, data.treatments):
            everyone = known[data.treatment == arm]
            mine = obs.treatment == arm
            weight, values = obs.weight[mine, None].double(), kept[mine]
            mean = (weight * values).sum(dim=0) / weight.sum()
            # variance of the weighted mean, plus that of the whole arm
            variance = (weight * (values - mean)).square().sum(dim=0) / weight.sum() ** 2
            error = (variance + everyone.var(dim=0) / len(everyone)).sqrt()
            weighted_errors.append((mean - everyone.mean(dim=0)) / error)
            plain_errors.append((values.mean(dim=0) - everyone.mean(dim=0)) / error)
    weighted, plain = torch.cat(weighted_errors), torch.cat(plain_errors)
    assert float(weighted.abs().max()) < 4.5
    assert 0.5 < float(weighted.square().mean()) < 1.5
    assert float(plain.square().mean()) > 5


def test_the_observational_rows_are_selected(real_data: Path | None) -> None:
    data = rct(real_data)
    hybrid = to_hybrid(data, seed=0, recipe=HybridRecipe(epsilon=0.0))
    randomised, proposed = hybrid.test.arm_counts, hybrid.obs.arm_counts
    shift = (randomised / len(hybrid.test) - proposed / len(hybrid.obs)).abs().max()
    assert float(shift) > 0.05
    assert roi_lift(hybrid) == pytest.approx(roi(hybrid.obs) / roi(hybrid.test) - 1)
    assert abs(roi_lift(hybrid)) > 0.02


def test_roi_is_revenue_per_cost(make_rows: Make) -> None:
    data = make_rows(6)
    assert roi(data) == pytest.approx(float(data.revenue.sum() / data.cost.sum()))
    with pytest.raises(InvalidValueError, match="cost above 0"):
        roi(replace(data, cost=torch.zeros(6)))


def test_a_real_pair_is_kept_and_its_randomised_rows_are_split(make_rows: Make) -> None:
    obs = replace(make_rows(seed=1), source="obs")
    hybrid = pair_hybrid(make_rows(900), obs, seed=0)
    assert hybrid.obs is obs
    assert [len(hybrid.rct), len(hybrid.validation), len(hybrid.test)] == [100, 200, 600]
    with pytest.raises(InvalidValueError, match="needs data 'rct' and obs 'obs', got 'obs'"):
        pair_hybrid(obs, obs, seed=0)


def test_an_experiment_alone_is_split_whole(make_rows: Make) -> None:
    hybrid = pair_hybrid(make_rows(900), None, seed=0)
    assert hybrid.obs is None
    assert hybrid.rct is not None
    assert [len(hybrid.rct), len(hybrid.validation), len(hybrid.test)] == [100, 200, 600]
    with pytest.raises(InvalidValueError, match="roi_lift needs observational rows, got none"):
        roi_lift(hybrid)


def test_parts_that_are_there_stay_whole(make_rows: Make) -> None:
    held = Held(validation=make_rows(30, seed=1), test=make_rows(60, seed=2))
    for made in (
        pair_hybrid(make_rows(900), None, seed=0, held=held),
        to_hybrid(make_rows(900), seed=0, held=held),
    ):
        assert made.validation is held.validation
        assert made.test is held.test
    assert made.obs is not None
    assert made.rct is not None
    assert len(made.rct) == 75  # 0.05 of the 0.6 that policy, pool and rct take together
    half = pair_hybrid(make_rows(900), None, seed=0, held=Held(test=held.test))
    assert len(half.validation) == 600


def test_parts_that_are_there_are_randomised_and_like_the_others(make_rows: Make) -> None:
    logs = replace(make_rows(30, seed=1), source="obs")
    narrow = replace(logs, source="rct", features=logs.features[:, :2])
    for make in (to_hybrid, partial(pair_hybrid, obs=None)):
        with pytest.raises(DataError, match="must hold randomised rows, got source 'obs'"):
            make(make_rows(900), seed=0, held=Held(validation=logs))
        with pytest.raises(ShapeError, match="rows and those held must agree in"):
            make(make_rows(900), seed=0, held=Held(test=narrow))
        turned = Held(test=named(make_rows(30), backwards=True))
        with pytest.raises(InvalidValueError, match="rows and those held must have the same feat"):
            make(named(make_rows(900)), seed=0, held=turned)


def named(data: UpliftData, *, backwards: bool = False) -> UpliftData:
    names = tuple(f"x{column}" for column in range(data.features.shape[1]))
    return replace(data, feature_names=names[::-1] if backwards else names)


def test_a_pair_has_its_columns_in_one_order(make_rows: Make) -> None:
    obs = replace(make_rows(seed=1), source="obs")
    with pytest.raises(InvalidValueError, match="data and obs must have the same feature_names"):
        pair_hybrid(named(make_rows(900)), named(obs, backwards=True), seed=0)
    with pytest.raises(ShapeError, match="data and obs must agree in"):
        pair_hybrid(make_rows(900), replace(obs, features=obs.features[:, :1]), seed=0)


def test_observational_rows_cannot_be_cut_up(make_rows: Make) -> None:
    with pytest.raises(InvalidValueError, match="needs randomised rows, got source 'obs'"):
        to_hybrid(replace(make_rows(), source="obs"), seed=0)


@pytest.mark.parametrize(
    "policy", [lambda features: features, lambda features: features[:, 0]], ids=["shape", "dtype"]
)
def test_a_policy_must_return_a_treatment_per_row(
    make_rows: Make, policy: Callable[[Tensor], Tensor]
) -> None:
    with pytest.raises(ShapeError, match=r"policy must return \(240,\) int64, got"):
        to_hybrid(make_rows(600), seed=0, recipe=RECIPE, policy=policy)


def test_a_policy_must_return_treatments_that_are_there(make_rows: Make) -> None:
    with pytest.raises(InvalidValueError, match=r"treatments in 0 \.\. 2, got 7 \.\. 7"):
        to_hybrid(make_rows(), seed=0, policy=lambda x: torch.full((len(x),), 7))


def test_a_policy_that_never_agrees_is_reported(make_rows: Make) -> None:
    data = make_rows(3000)
    wrong = {
        float(x): (int(t) + 1) % 3 for x, t in zip(data.features[:, 0], data.treatment, strict=True)
    }

    def policy(features: Tensor) -> Tensor:
        return torch.tensor([wrong[float(x)] for x in features[:, 0]])

    with pytest.raises(InvalidValueError, match="in no row of the pool"):
        to_hybrid(data, seed=0, recipe=replace(RECIPE, epsilon=0.0), policy=policy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rct": 0.0}, r"must each lie in \(0, 1\)"),
        ({"rct": 0.5}, "sum to at most 1, got .* sum 1.45"),
        ({"epsilon": -0.1}, r"epsilon must be in \[0, 1\], got -0.1"),
        ({"share": 2.0}, r"share must be in \[0, 1\], got 2"),
    ],
)
def test_bad_recipes_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        HybridRecipe(**changes)  # type: ignore[arg-type]
