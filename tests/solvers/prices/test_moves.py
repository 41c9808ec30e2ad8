import torch
from torch import Tensor

from dfl.problem import AllocationProblem
from dfl.solvers.prices.lagrangian import Lagrangian
from dfl.solvers.prices.moves import Moves, searched


def market(**constraints: Tensor) -> AllocationProblem:
    """Three people alike and one who is not, on treatments that cost 0, 1 and 3."""
    revenue = torch.tensor([[0.0, 2.0, 5.0]] * 3 + [[1.0, 2.0, 3.0]], dtype=torch.float64)
    cost = torch.tensor([[0.0, 1.0, 3.0]] * 4, dtype=torch.float64)
    return AllocationProblem(revenue, cost, 4.0, **constraints)


def test_moves_say_what_they_bring_and_use() -> None:
    capacity = torch.tensor([9.0, 2.0, 1.0])
    lagrangian = Lagrangian.of(market(capacity=capacity))
    moves = Moves(lagrangian, torch.tensor([3, 0]), torch.tensor([1, 0, 0, 2]))
    assert moves.person.tolist() == [0, 0, 1, 1]
    assert moves.treatment.tolist() == [0, 1, 0, 2]
    assert moves.gain.tolist() == [-2.0, -1.0, -2.0, 3.0]
    # Money, then places on treatments 1 and 2: that of 0 takes everyone.
    assert moves.extra.toarray().tolist() == [
        [-3.0, 0.0, -1.0],
        [-2.0, 1.0, -1.0],
        [-1.0, -1.0, 0.0],
        [2.0, -1.0, 1.0],
    ]
    assert moves.scaled.toarray()[:, 0].tolist() == [-0.75, -0.5, -0.25, 0.5]


def test_what_is_not_allowed_is_no_move() -> None:
    allowed = torch.tensor([[True, True, False]] * 3 + [[True, True, True]])
    lagrangian = Lagrangian.of(market(allowed=allowed))
    moves = Moves(lagrangian, torch.tensor([0]), torch.zeros(4, dtype=torch.int64))
    assert moves.treatment.tolist() == [1]


def test_the_search_moves_as_many_of_a_kind_as_pays() -> None:
    lagrangian = Lagrangian.of(market())
    choice = searched(lagrangian, torch.ones(4), torch.full((4,), 2))
    revenue, usage = lagrangian.totals(choice)
    assert float(usage[0]) <= 4
    assert revenue == 8.0  # 5 + 2 + 0 + 1: three of a kind on three treatments
    assert choice[:3].sort().values.tolist() == [0, 1, 2]


def test_people_without_a_second_choice_do_not_move() -> None:
    choice = torch.full((4,), 2)
    alone = torch.full((4,), torch.inf)
    assert searched(Lagrangian.of(market()), alone, choice).equal(choice)


def test_where_nothing_helps_the_choice_stays() -> None:
    allowed = torch.tensor([[True, False, True]] * 4)
    short = Lagrangian.of(market(allowed=allowed, pinned=torch.tensor([2, -1, -1, -1])))
    short = Lagrangian(short.revenue, short.cost, short.choices, short.limit - 2, 0.0)
    choice = torch.tensor([2, 2, 0, 0])
    assert searched(short, torch.tensor([torch.inf, 1, 1, 1]), choice).equal(choice)


def test_identical_people_with_one_treatment_have_one_number() -> None:
    lagrangian = Lagrangian.of(market())
    key = lagrangian.alike(torch.tensor([0, 0, 1, 0])).tolist()
    assert key[0] == key[1]
    assert len(set(key)) == 3
