"""Trees against all trees there are; budgets; words."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from dfl.errors import InvalidValueError, ShapeError
from dfl.segments import SegmentModel, Tree, TreeScores, grow
from dfl.segments.profile import tree_in_words
from dfl.segments.tree_growth import _candidates, _Sums
from tests.segments.made import table


def sample(seed: int, rows: int = 60, features: int = 2) -> TreeScores:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 4, (rows, features), generator=generator).float()
    revenue = torch.randn(rows, 3, generator=generator) + x[:, :1] * torch.tensor([0, 0.5, -0.5])
    cost = torch.tensor([0, 0.5, 1.0]) * (1 + torch.rand(rows, 3, generator=generator))
    return TreeScores(x, revenue, cost)


def best_of_all(scores: TreeScores, price: float, depth: int, least: int) -> float:
    """Return the best value of any tree over all thresholds, by trying them all."""
    score = scores.revenue.double() - price * scores.cost.double()

    def best(own: torch.Tensor, left: int) -> float:
        if int(own.sum()) < least:
            return -torch.inf
        value = float(score[own].sum(dim=0).max())
        if not left:
            return value
        for feature, cut in product(range(scores.features.shape[1]), (0.5, 1.5, 2.5)):
            beyond = scores.features[:, feature] > cut
            if not bool((own & beyond).any()) or not bool((own & ~beyond).any()):
                continue
            value = max(value, best(own & beyond, left - 1) + best(own & ~beyond, left - 1))
        return value

    return best(torch.ones(len(score), dtype=torch.bool), depth) / len(score)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_the_best_tree_is_found(seed: int, depth: int) -> None:
    scores = sample(seed)
    for price, least in ((0.0, 1), (0.4, 4), (1.5, 10)):
        sums = _Sums.of(scores, _candidates(scores.features, 16), depth, least)
        wanted = best_of_all(scores, price, depth, least)
        assert sums.best(price, depth).value == pytest.approx(wanted)


def value_and_cost(scores: TreeScores, tree: Tree, price: float) -> tuple[float, float]:
    leaf = tree.assign(scores.features)
    value = cost = 0.0
    for k in range(tree.segments):
        own = leaf == k
        assert bool(own.any())
        total = (scores.revenue[own] - price * scores.cost[own]).double().sum(dim=0)
        value += float(total.max())
        cost += float(scores.cost[own].double().sum(dim=0)[total.argmax()])
    return value / len(leaf), cost / len(leaf)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_tree_says_what_the_search_found(depth: int) -> None:
    scores = sample(7, rows=400, features=4)
    sums = _Sums.of(scores, _candidates(scores.features, 16), depth, 10)
    for price in (0.0, 0.3, 0.9):
        found = sums.best(price, depth)
        tree = found.tree(4, depth, sums.cuts)
        assert tree.depth == depth
        value, cost = value_and_cost(scores, tree, price)
        assert value == pytest.approx(found.value)
        assert cost == pytest.approx(found.cost)
        assert int(torch.bincount(tree.assign(scores.features)).min()) >= 10


def test_a_greedy_tree_is_no_better_and_says_what_it_found() -> None:
    scores = sample(3, rows=400, features=4)
    cuts = _candidates(scores.features, 16)
    sums = _Sums.of(scores, cuts, 3, 10)
    greedy = sums._greedy(0.3, torch.ones(400, 1).double(), 3)
    assert greedy.value <= sums.best(0.3, 3).value + 1e-9
    assert value_and_cost(scores, greedy.tree(4, 3, cuts), 0.3)[0] == pytest.approx(greedy.value)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_budget_is_met(depth: int) -> None:
    scores = sample(2, rows=500, features=3)
    for budget in (0.0, 0.2, 0.6, 2.0):
        tree = grow(scores, budget, depth=depth, least=20)
        cheapest = float(scores.cost.mean(dim=0)[0])
        assert cheapest <= budget + 1e-9
        prices = [k / 50 for k in range(400)]
        assert any(
            value_and_cost(scores, tree, price)[1] <= budget + 1e-6 for price in (*prices, 1e3)
        )


def test_people_who_differ_are_told_apart() -> None:
    x = torch.rand(4_000, 5, generator=torch.Generator().manual_seed(0))
    good = (x[:, 3] > 0.6).float()[:, None]
    revenue = torch.cat([torch.zeros(4_000, 1), 2 * good - 1], dim=1)
    tree = grow(TreeScores(x, revenue, torch.zeros(4_000, 2)), 1.0, depth=1, thresholds=32)
    assert tree.feature.tolist() == [3]
    assert float(tree.threshold[0]) == pytest.approx(0.6, abs=0.04)
    assert tree.segments == 2


@pytest.mark.parametrize("kind", [torch.int64, torch.bool, torch.float16, torch.bfloat16])
def test_numbers_of_any_type_go_where_their_values_say(kind: torch.dtype) -> None:
    tree = Tree(torch.tensor([0, 0, 0]), torch.tensor([0.3, -0.5, 1.5]), torch.arange(4), 1)
    given = torch.tensor([[-1], [0], [1], [2]]).to(kind)
    assert tree.assign(given).equal(tree.assign(given.float()))
    model = SegmentModel(
        Tree(tree.feature, tree.threshold, torch.tensor([0, 1, 1, 2]), 1), table(), {}
    )
    found = model.predict(given)
    assert found.revenue.dtype == torch.float32
    assert found.revenue.equal(model.predict(given.float()).revenue)
    scores = sample(1)
    whole, plain = (
        grow(TreeScores(one, scores.revenue, scores.cost), 0.5, least=5)
        for one in (scores.features.to(kind), scores.features.to(kind).float())
    )
    assert whole.threshold.equal(plain.threshold)


def test_one_value_or_too_few_people_leave_one_segment() -> None:
    scores = sample(1)
    flat = TreeScores(torch.zeros(60, 2), scores.revenue, scores.cost)
    for tree in (grow(flat, 1.0, depth=3), grow(scores, 1.0, depth=3, least=40)):
        assert tree.segments == 1
        assert tree.assign(scores.features).unique().tolist() == [0]


def test_people_of_whom_nothing_is_known_are_one_segment() -> None:
    scores = sample(1)
    tree = grow(TreeScores(torch.zeros(60, 0), scores.revenue, scores.cost), 1.0, depth=2)
    assert tree.assign(torch.zeros(5, 0)).tolist() == [0] * 5


def test_a_tree_in_words_has_the_data_s_names() -> None:
    tree = Tree(
        torch.tensor([1, 0, 0]),
        torch.tensor([30.0, torch.inf, 2.5]),
        torch.tensor([0, 0, 1, 2]),
        2,
    )
    lines = tree_in_words(tree, ("visits", "age"), ("none", "5 %", "10 %"))
    assert lines == (
        "age up to 30:",
        "    none",
        "age above 30:",
        "    visits up to 2.5:",
        "        5 %",
        "    visits above 2.5:",
        "        10 %",
    )
    with pytest.raises(ShapeError, match="names must be 2"):
        tree_in_words(tree, ("age",), ("a", "b", "c"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threshold", [34.523846, 1234567.0, -0.1234567891234, 1e-30 / 3, 70.0])
def test_who_follows_the_words_sorts_as_the_tree_does(threshold: float, dtype: torch.dtype) -> None:
    tree = Tree(torch.tensor([0]), torch.tensor([threshold], dtype=dtype), torch.tensor([0, 1]), 1)
    line = tree_in_words(tree, ("age",), ("young", "old"))[0]
    said = float(line.removeprefix("age up to ").removesuffix(":"))
    assert torch.equal(torch.tensor([said], dtype=dtype), tree.threshold)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"depth": 4}, r"depth must be in \[1, 3\], got 4"),
        ({"depth": 0}, "depth must be >= 1"),
        ({"thresholds": 0}, "thresholds must be >= 1"),
        ({"least": 0}, "least people in a leaf must be >= 1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, int], match: str) -> None:
    with pytest.raises(InvalidValueError, match=match):
        grow(sample(0), 1.0, **options)


def test_what_does_not_fit_is_refused() -> None:
    scores = sample(0)
    dear = TreeScores(scores.features, scores.revenue, scores.cost + 1)
    with pytest.raises(InvalidValueError, match="at least the cheapest treatment for everyone"):
        grow(dear, 0.5)
    with pytest.raises(InvalidValueError, match="budget must be a number, got nan"):
        grow(scores, torch.nan)
    with pytest.raises(ShapeError, match="same rows"):
        TreeScores(scores.features[:5], scores.revenue, scores.cost)
    with pytest.raises(InvalidValueError, match="number of people must be >= 1, got 0"):
        TreeScores(scores.features[:0], scores.revenue[:0], scores.cost[:0])
    for name in ("features", "revenue", "cost"):
        with pytest.raises(InvalidValueError, match=f"{name} must be finite"):
            replace(scores, **{name: getattr(scores, name) / 0})


def test_leaves_that_gain_from_treatments_of_equal_mean_are_kept_within_the_budget() -> None:
    x = torch.tensor([[0.0], [1.0]]).repeat(200, 1)
    gain = torch.where(x[:, 0] > 0.5, 1000.0, -1000.0)
    revenue, cost = torch.stack([0 * gain, gain], 1), torch.tensor([0.0, 1.0]).expand(400, 2)
    assert grow(TreeScores(x, revenue, cost), 0.1, depth=1).leaf.unique().tolist() == [0]
    assert grow(TreeScores(x, revenue, cost), 0.5, depth=1).leaf.tolist() == [0, 1]
