import pytest
import torch
from torch import Tensor

from dfl.data import CouponSimulator, PotentialOutcomes, UpliftData
from dfl.errors import InvalidValueError
from dfl.seeds import stream


def draw(rows: int, **options: object) -> UpliftData:
    simulator = CouponSimulator(**options)  # type: ignore[arg-type]
    return simulator.draw(rows, generator=stream(0, "coupon"))


def observational(rows: int, **options: object) -> UpliftData:
    simulator = CouponSimulator(**options)  # type: ignore[arg-type]
    return simulator.draw(rows, generator=stream(0, "coupon"), source="obs")


def truth_of(data: UpliftData) -> PotentialOutcomes:
    assert data.truth is not None
    return data.truth


@pytest.fixture(scope="module")
def people() -> UpliftData:
    return draw(40_000)


def test_nothing_costs_nothing_and_response_is_concave_in_the_discount(people: UpliftData) -> None:
    revenue, cost = truth_of(people).revenue.double(), truth_of(people).cost.double()
    assert float(cost[:, 0].max()) == 0
    assert float(people.cost[people.treatment == 0].max()) == 0
    steps = revenue.diff(dim=1)
    assert float(steps.min()) > 0
    assert float(steps.diff(dim=1).max()) < 1e-5
    assert float(cost.diff(dim=1).min()) > 0


def test_spend_has_many_zeros_and_a_heavy_tail(people: UpliftData) -> None:
    assert 0.7 < float((people.revenue == 0).float().mean()) < 0.95
    assert float(people.revenue.max()) > 8 * float(people.revenue.std())
    effect = truth_of(people).revenue[:, 4].mean() - truth_of(people).revenue[:, 0].mean()
    assert float(people.revenue.std()) > 3 * float(effect)
    redeemed = people.cost[(people.treatment > 0) & (people.revenue > 0)] > 0
    assert 0.4 < float(redeemed.float().mean()) < 0.9


def oracle(revenue: Tensor, cost: Tensor, budget: float) -> tuple[float, Tensor]:
    """Mean revenue and choices of the best policy, by bisection of the multiplier."""

    def choices(multiplier: float) -> tuple[Tensor, float]:
        chosen = (revenue - multiplier * cost).argmax(dim=1, keepdim=True)
        return chosen, float(cost.gather(1, chosen).mean())

    low, high = 0.0, 1000.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if choices(middle)[1] <= budget else (middle, high)
    chosen, spent = choices(high)
    assert spent <= budget
    return float(revenue.gather(1, chosen).mean()), chosen.squeeze(1)


def best_mix(revenue: Tensor, cost: Tensor, budget: float) -> float:
    """Mean revenue of the best mix of two treatments for everyone."""
    value, price = revenue.mean(dim=0), cost.mean(dim=0)
    mixes = []
    for low in range(len(value)):
        for high in range(low + 1, len(value)):
            if price[low] <= budget <= price[high]:
                share = (budget - price[low]) / (price[high] - price[low])
                mixes.append(float(value[low] + share * (value[high] - value[low])))
    return max(mixes)


def test_targeting_pays_and_people_need_different_treatments(people: UpliftData) -> None:
    revenue, cost = truth_of(people).revenue.double(), truth_of(people).cost.double()
    budget = 0.3 * float(cost.amax(dim=1).mean())
    best, chosen = oracle(revenue, cost, budget)
    mix = best_mix(revenue, cost, budget)
    gain = (best - mix) / (mix - float(revenue[:, 0].mean()))
    assert 0.15 < gain < 0.40
    assert float((chosen.bincount(minlength=5) / len(chosen)).min()) > 0.03


def test_the_old_policy_overstates_deep_discounts() -> None:
    data = observational(100_000)
    received = [float(data.revenue[data.treatment == arm].mean()) for arm in (0, 4)]
    true = truth_of(data).revenue.mean(dim=0)
    assert received[1] - received[0] > 1.3 * float(true[4] - true[0])


def test_hidden_confounding_misleads_about_the_loyal_and_the_persuadable() -> None:
    loyal = 0.3

    def surplus(hidden: float, sign: float) -> float:
        """How far the effect of 20 % is overstated among people whom the mood concerns."""
        data = observational(150_000, hidden_confounding=hidden)
        concerned = sign * (loyal + data.features[:, 0] - data.features[:, 4]) > 1
        excess = []
        for arm in (0, 4):
            rows = concerned & (data.treatment == arm)
            expected = truth_of(data).revenue[rows, arm]
            excess.append(float((data.revenue[rows] - expected).mean() / expected.mean()))
        return excess[1] - excess[0]

    assert abs(surplus(0.0, 1)) < 0.15
    assert abs(surplus(0.0, -1)) < 0.15
    assert surplus(1.0, 1) > 0.5
    assert surplus(1.0, -1) < -0.5


def test_two_features_do_nothing() -> None:
    revenue = truth_of(people := draw(20_000)).revenue[:, 4].double()
    features = people.features.double()
    correlation = torch.corrcoef(torch.cat([features, revenue[:, None]], dim=1).T)[-1, :-1].abs()
    assert float(correlation[[14, 15]].max()) < 0.03
    assert float(correlation[[4, 10, 18]].min()) > 0.1


def logs_excess(data: UpliftData, rows: Tensor) -> Tensor:
    """How far mean revenue of each arm's rows lies above the truth for the same people."""
    excess = data.revenue - truth_of(data).revenue.gather(1, data.treatment[:, None]).squeeze(1)
    return torch.stack([excess[rows & (data.treatment == arm)].mean() for arm in range(5)])


def test_randomised_rows_agree_with_the_truth_in_every_hidden_world() -> None:
    for kind in ("multiplicative", "additive", "dose-free", "cost"):
        data = draw(100_000, hidden_confounding=1.0, hidden_kind=kind)
        assert float(logs_excess(data, data.treatment >= 0).abs().max()) < 0.35


def test_an_additive_mood_shifts_levels_and_leaves_effects_and_costs_alone() -> None:
    plain, shifted = draw(5_000), draw(5_000, hidden_confounding=1.0, hidden_kind="additive")
    effects = [truth_of(data).revenue.diff(dim=1) for data in (plain, shifted)]
    torch.testing.assert_close(effects[0], effects[1], rtol=0, atol=1e-4)
    torch.testing.assert_close(truth_of(plain).cost, truth_of(shifted).cost)
    assert torch.equal(plain.cost, shifted.cost)
    assert float((truth_of(shifted).revenue - truth_of(plain).revenue).min()) > 6
    assert float(shifted.revenue.min()) >= 0
    logs = observational(150_000, hidden_confounding=1.0, hidden_kind="additive")
    loyal = (0.3 + logs.features[:, 0] - logs.features[:, 4]) > 1
    excess = logs_excess(logs, loyal)
    assert float(excess[4] - excess[0]) > 3


def test_a_dose_free_mood_biases_logs_in_no_order_of_the_discounts() -> None:
    logs = observational(150_000, hidden_confounding=1.0, hidden_kind="dose-free")
    loyal = (0.3 + logs.features[:, 0] - logs.features[:, 4]) > 1
    steps = logs_excess(logs, loyal).diff()
    assert float(steps.min()) < -0.5
    assert float(steps.max()) > 0.5
    assert bool((steps[:-1] * steps[1:] < 0).all())  # up and down and up again


def test_a_mood_about_costs_leaves_revenue_alone_and_the_truth_as_it_is() -> None:
    plain, moody = draw(50_000), draw(50_000, hidden_confounding=1.0, hidden_kind="cost")
    for name in ("revenue", "cost"):
        torch.testing.assert_close(getattr(truth_of(plain), name), getattr(truth_of(moody), name))
    assert torch.equal(plain.revenue, moody.revenue)
    assert float(moody.cost.mean()) == pytest.approx(float(plain.cost.mean()), rel=0.05)
    logs = observational(300_000, hidden_confounding=1.0, hidden_kind="cost", noise=0.0)
    loyal = (0.3 + logs.features[:, 0] - logs.features[:, 4]) > 1
    expected = truth_of(logs).cost.gather(1, logs.treatment[:, None]).squeeze(1)
    shares = [
        float(logs.cost[rows].sum() / expected[rows].sum())
        for rows in (loyal & (logs.treatment == arm) for arm in (1, 4))
    ]
    assert shares[0] < 0.9 < 1.1 < shares[1]
    assert float(logs_excess(logs, loyal).abs().max()) < 1e-4


def test_many_coupons_are_evenly_spaced_up_to_the_deepest(people: UpliftData) -> None:
    many = draw(40_000, coupons=19)
    assert many.treatment_names[::19] == ("none", "20%")
    assert (len(many.treatment_names), many.treatments) == (20, 20)
    assert people.treatment_names == ("none", "5%", "10%", "15%", "20%")
    truth = truth_of(many).revenue
    torch.testing.assert_close(truth[:, [0, 19]], truth_of(people).revenue[:, [0, 4]])
    assert float(truth.diff(dim=1).min()) > 0
    assert observational(5_000, coupons=19).treatment.unique().numel() == 20


def test_every_coupon_has_a_name_of_its_own() -> None:
    names = CouponSimulator(coupons=202).treatment_names
    assert len({*names}) == 203
    assert names[1::201] == ("0.09901%", "20%")


def test_a_region_may_hold_hardly_anybody() -> None:
    assert len(draw(500, hidden_confounding=1.0, hidden_region=1e-300)) == 500


def test_a_hidden_region_leaves_the_logs_of_everyone_else_right() -> None:
    logs = observational(300_000, hidden_confounding=1.0, hidden_region=0.3)
    inside = logs.features[:, 8] > 0.5244  # the upper 30 % of a standard normal
    assert 0.29 < float(inside.float().mean()) < 0.31
    loyal = (0.3 + logs.features[:, 0] - logs.features[:, 4]) > 1
    within, without = logs_excess(logs, loyal & inside), logs_excess(logs, loyal & ~inside)
    assert float(within[4] - within[0]) > 2
    assert float(without.abs().max()) < 0.6


def test_without_overlap_a_person_has_one_treatment_and_every_treatment_occurs() -> None:
    logs = observational(50_000, overlap=False, known_propensity=True)
    assert logs.propensity is not None
    assert torch.equal(logs.propensity.argmax(dim=1), logs.treatment)
    assert float(logs.propensity.amax(dim=1).min()) == 1
    assert float(logs.treatment.bincount(minlength=5).min()) > 1_000
    again = observational(50_000, overlap=False)
    assert torch.equal(again.treatment, logs.treatment)


def test_the_standard_world_is_what_it_was_before_there_were_others() -> None:
    data = observational(1_000, hidden_confounding=1.0)
    assert data.treatment.bincount().tolist() == [384, 163, 113, 115, 225]
    assert float(data.revenue.double().sum()) == pytest.approx(4716.01487, abs=0.01)
    assert float(data.cost.double().sum()) == pytest.approx(439.08104, abs=0.001)


@pytest.mark.parametrize(
    "options",
    [
        {"ordered": False},
        {"alike": True},
        {"handling": 30.0},
        {"basket_spread": 1.0},
        {"idle_features": 7},
        {"hidden_kind": "cost"},
    ],
)
def test_what_is_drawn_in_a_world_has_the_mean_that_its_truth_says(
    options: dict[str, object],
) -> None:
    data = draw(200_000, hidden_confounding=1.0, **options)
    for outcome, truth in (
        (data.revenue, truth_of(data).revenue),
        (data.cost, truth_of(data).cost),
    ):
        excess = (outcome - truth.gather(1, data.treatment[:, None])[:, 0]).double()
        for arm in range(5):
            own = excess[data.treatment == arm]
            assert abs(float(own.mean())) <= 4.5 * float(own.std()) / len(own) ** 0.5


def test_unordered_treatments_are_each_to_the_taste_of_others(people: UpliftData) -> None:
    ordered, unordered = (truth_of(one).revenue for one in (people, draw(40_000, ordered=False)))
    torch.testing.assert_close(unordered[:, 0], ordered[:, 0])
    best = unordered.argmax(dim=1).bincount(minlength=5) / 40_000
    assert float(best[1:].min()) > 0.2
    assert float(best[0]) == 0
    assert float((ordered.argmax(dim=1) == 4).float().mean()) == 1
    means = unordered.mean(dim=0)[1:]
    assert float(means.max() - means.min()) < 0.2 * float(means.mean())


def test_alike_people_have_one_response_and_logs_still_tell_them_apart() -> None:
    logs = observational(20_000, alike=True)
    for truth in (truth_of(logs).revenue, truth_of(logs).cost):
        assert torch.equal(truth, truth[:1].expand_as(truth))
    assert logs.treatment.unique().numel() == 5
    received = [logs.features[logs.treatment == arm, 0].mean() for arm in (0, 4)]
    assert float(received[1] - received[0]) > 0.3


def test_handling_makes_revenue_negative_where_baskets_are_small(people: UpliftData) -> None:
    data = draw(40_000, handling=30.0)
    torch.testing.assert_close(truth_of(data).cost, truth_of(people).cost)
    losing = (truth_of(data).revenue < 0).float().mean(dim=0)
    assert 0.3 < float(losing.min()) <= float(losing.max()) < 0.7
    lost = truth_of(people).revenue - truth_of(data).revenue
    assert float(lost.min()) > 0
    assert float(data.revenue.min()) < -20


def test_a_wide_basket_has_the_same_mean_and_heavy_tails(people: UpliftData) -> None:
    data = draw(40_000, basket_spread=2.0)
    torch.testing.assert_close(truth_of(data).revenue, truth_of(people).revenue)
    assert float(data.revenue.max()) > 5 * float(people.revenue.max())
    buying = data.revenue[data.revenue > 0].log()
    assert float(buying.std()) > 1.8


def test_idle_features_are_named_and_change_nothing_else() -> None:
    few, more = draw(100), CouponSimulator(idle_features=3)
    data = more.draw(100, generator=stream(0, "coupon"))
    assert data.features.shape == (100, 23)
    assert torch.equal(data.features[:, :20], few.features)
    assert torch.equal(truth_of(data).revenue, truth_of(few).revenue)
    assert data.feature_names == more.feature_names == tuple(f"x{k}" for k in range(23))
    assert more.encoder.feature_names == more.feature_names
    assert abs(float(draw(20_000, idle_features=1).features[:, 20].mean())) < 0.03


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_kind": "odd"}, "hidden_kind must be one of 'multiplicative', 'additive'"),
        ({"hidden_region": 0.0}, r"hidden_region must be in \(0, 1\], got 0"),
        ({"hidden_region": float("nan")}, r"hidden_region must be in \(0, 1\], got nan"),
        ({"handling": -1.0}, "handling must be >= 0, got -1"),
        ({"basket_spread": 0.0}, r"basket_spread must be in \(0, 10\], got 0"),
        ({"basket_spread": 1e300}, r"basket_spread must be in \(0, 10\], got 1e\+300"),
        ({"idle_features": -1}, "idle_features must be >= 0, got -1"),
        ({"coupons": 0}, "coupons must be >= 1, got 0"),
        ({"coupons": 19, "ordered": False}, "coupons must be 4 where they are not ordered"),
        ({"coupons": 3, "hidden_kind": "dose-free"}, "hidden_kind is 'dose-free', got 3"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        CouponSimulator(**options)  # type: ignore[arg-type]
