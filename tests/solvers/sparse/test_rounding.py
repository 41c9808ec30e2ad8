import numpy as np
import pytest
import torch

from dfl.problem import AllocationProblem
from dfl.solvers.sparse.rounding import fill_up, first_best, repair_columns, round_whole
from dfl.solvers.sparse.sparse_model import SparseModel, sparse_model
from tests.solvers.instances import FEATURES, constrained


def model(budget: float, capacity: list[float] | None = None) -> SparseModel:
    """Three people; a dearer treatment brings each 3, 2 and 1.5 per unit of cost."""
    revenue = torch.tensor([[0.0, 3.0], [0.0, 4.0], [0.0, 1.5]])
    cost = torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 1.0]])
    places = None if capacity is None else torch.tensor(capacity)
    return sparse_model(AllocationProblem(revenue, cost, budget, capacity=places))


def taken(choice: list[int]) -> np.ndarray:
    return 2 * np.arange(3) + np.array(choice)


def choice(columns: np.ndarray | None) -> list[int]:
    assert columns is not None
    return (columns % 2).tolist()


def test_what_fits_stays_as_it_is() -> None:
    assert choice(repair_columns(model(4.0), taken([1, 1, 1]))) == [1, 1, 1]


@pytest.mark.parametrize(
    ("budget", "repaired"), [(3.0, [1, 1, 0]), (2.0, [1, 0, 0]), (1.0, [1, 0, 0])]
)
def test_repair_gives_up_the_least_revenue_per_relief(budget: float, repaired: list[int]) -> None:
    # At 2.0 persons 2 and 1 give up 1.5 and 2 per unit, one unit too much: fill_up's to spend.
    assert choice(repair_columns(model(budget), taken([1, 1, 1]))) == repaired


def test_repair_takes_nothing_that_another_limit_needs() -> None:
    # Doing nothing has one place: only one person may give up.
    limited = model(3.0, [1.0, 3.0])
    assert choice(repair_columns(limited, taken([1, 1, 1]))) == [1, 1, 0]
    assert repair_columns(model(2.0, [1.0, 3.0]), taken([1, 0, 1])) is not None


def test_repair_says_when_it_is_stuck() -> None:
    revenue = torch.zeros(1, 2)
    cost = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    torn = sparse_model(AllocationProblem(revenue, cost, torch.tensor([0.5, 0.5])))
    assert repair_columns(torn, np.array([0])) is None
    assert round_whole(torn, np.array([0.5, 0.5]), np.zeros(2)) is None


def test_filling_up_goes_by_revenue_per_price_and_passes_over_what_does_not_fit() -> None:
    prices = np.array([1.0])
    assert choice(fill_up(model(2.0), taken([0, 0, 0]), prices)) == [1, 0, 1]
    assert choice(fill_up(model(3.0), taken([0, 0, 0]), prices)) == [1, 1, 0]
    assert choice(fill_up(model(9.0), taken([0, 0, 0]), prices)) == [1, 1, 1]


def test_the_fractional_person_gets_the_cheaper_treatment() -> None:
    weight = np.array([0.0, 1.0, 0.4, 0.6, 1.0, 0.0])
    assert choice(round_whole(model(2.2), weight, np.array([2.0]))) == [1, 0, 1]
    assert choice(round_whole(model(1.2), weight, np.array([2.0]))) == [1, 0, 0]


def test_ties_go_to_the_earlier_column() -> None:
    assert first_best(model(4.0), np.array([1.0, 1.0, 0.0, 2.0, 3.0, 3.0])).tolist() == [0, 3, 4]


@pytest.mark.parametrize("seed", range(10))
def test_any_start_is_made_feasible_where_there_is_room(seed: int) -> None:
    random = sparse_model(constrained(seed, rows=60, treatments=4, features=FEATURES))
    draw = np.random.default_rng(seed)
    found = round_whole(random, draw.random(random.person.shape), np.ones(random.left.shape))
    assert found is not None
    assert bool((random.used(found) <= random.limit).all())
    assert random.person[found].tolist() == list(range(60))
