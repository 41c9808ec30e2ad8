"""Students: as the classifier they were taken from, near the teacher, alike after a file."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dfl.errors import InvalidValueError
from dfl.segments import SegmentTable, Tree
from dfl.segments.agreement import Agreement
from dfl.segments.distil import (
    STUDENTS,
    BoostedStudent,
    DenseStudent,
    _boosted,
    distilled,
)
from dfl.segments.plan import SegmentPlan
from tests.segments.made import plan, table

TEACHER = Tree(
    torch.tensor([1, 0, 2]), torch.tensor([0.0, -0.5, 0.7]), torch.tensor([0, 1, 2, 4]), 3
)  # nobody is in segment 3


def people(rows: int = 3_000, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("student", STUDENTS)
def test_a_student_names_what_its_teacher_names(student: str) -> None:
    found = distilled(TEACHER, people(), student, seed=0)
    other = people(seed=1)
    agree = (found.assign(other) == TEACHER.assign(other)).double().mean()
    assert float(agree) > {"logistic": 0.7, "network": 0.93, "boosting": 0.97}[student]
    assert (found.features, found.segments) == (3, 5)
    assert 3 not in found.assign(other)
    again = distilled(TEACHER, people(), student, seed=0)
    assert again.assign(other).equal(found.assign(other))
    tensors, about = found.state()
    assert type(found).of_state(tensors, about).assign(other).equal(found.assign(other))


@pytest.mark.parametrize("student", STUDENTS)
def test_two_segments_and_one(student: str) -> None:
    two = Tree(torch.tensor([1]), torch.tensor([0.3]), torch.tensor([0, 2]), 3)
    found = distilled(two, people(), student, seed=0)
    other = people(seed=1)
    assert float((found.assign(other) == two.assign(other)).double().mean()) > 0.95
    one = Tree(torch.tensor([1]), torch.tensor([torch.inf]), torch.tensor([1, 2]), 3)
    alone = distilled(one, people(), student, seed=0)
    assert alone.assign(other).unique().tolist() == [1]
    assert isinstance(alone, DenseStudent)


def test_the_layers_are_scikit_learn_s() -> None:
    from sklearn.linear_model import LogisticRegression

    x = people()
    found = distilled(TEACHER, x, "logistic", seed=0)
    rows = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    fitted = LogisticRegression(max_iter=500).fit(rows, TEACHER.assign(x).numpy())
    assert found.assign(x).tolist() == fitted.predict(rows).tolist()


def test_the_trees_are_scikit_learn_s() -> None:
    from sklearn.ensemble import AdaBoostClassifier
    from sklearn.tree import DecisionTreeClassifier

    x = people(800)
    x[:, 1] = (x[:, 1] * 2).round() / 2  # thresholds that fall on values' midpoints
    label = TEACHER.assign(x)
    mean, scale = x.mean(0), x.std(0, correction=0)
    found = _boosted(x, mean, scale, label, 5, 3)
    assert isinstance(found, BoostedStudent)
    base = DecisionTreeClassifier(max_depth=7, random_state=3)

    def scaled(rows: torch.Tensor) -> np.ndarray:
        return ((rows.double() - mean) / scale).float().numpy()

    fitted = AdaBoostClassifier(base, n_estimators=40, random_state=3)
    fitted.fit(scaled(x), label.numpy())
    for other in (x, people(5_000, seed=2)):
        assert np.array_equal(found.assign(other).numpy(), fitted.predict(scaled(other)))


@pytest.mark.parametrize("student", STUDENTS)
def test_units_of_features_do_not_matter(student: str) -> None:
    small = replace(TEACHER, threshold=1e-8 * TEACHER.threshold)
    found = distilled(small, 1e-8 * people(), student, seed=0)
    plain = distilled(TEACHER, people(), student, seed=0)
    agree = found.assign(1e-8 * people(seed=1)) == plain.assign(people(seed=1))
    assert float(agree.double().mean()) > 0.99


def test_whole_numbers_are_learned_from() -> None:
    whole = (4 * people()).round()
    teacher = replace(TEACHER, threshold=4 * TEACHER.threshold)
    found = distilled(teacher, whole.long(), "boosting", seed=0)
    assert found.assign(whole.long()).equal(found.assign(whole))
    assert found.assign(whole).equal(teacher.assign(whole))


def test_agreement_by_hand() -> None:
    given = SegmentPlan(
        budgets=torch.tensor([0.0, 1]).double(),
        choice=torch.tensor([[0, 0], [0, 1]]),
        revenue=torch.zeros(2).double(),
        cost=torch.zeros(2).double(),
        violation=torch.zeros(2).double(),
    )
    zero = torch.zeros(2, 2).double()
    amounts = SegmentTable(
        rows=zero.long(),
        share=torch.tensor([0.5, 0.5]).double(),
        revenue=torch.tensor([[1.0, 1.5], [2.0, 4.0]]).double(),
        cost=torch.tensor([[0.0, 0.4], [0.0, 1.0]]).double(),
        revenue_error=zero,
        cost_error=zero,
    )
    teacher, student = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    found = Agreement.of(teacher, student, amounts, given)
    assert found.segments == 0.5
    assert found.treatments.tolist() == [1.0, 0.5]
    # One of four gets 1 instead of 0 in segment 0 (+.5), one 0 instead of 1 in segment 1 (-2).
    assert found.revenue_lost.tolist() == pytest.approx([0, (2 - 0.5) / 4])
    assert found.cost_added.tolist() == pytest.approx([0, (0.4 - 1) / 4])


def test_a_student_that_agrees_loses_nothing() -> None:
    label = torch.tensor([0, 1, 2, 0])
    found = Agreement.of(label, label, table(), plan())
    assert found.segments == 1
    assert float(found.revenue_lost.abs().max()) == 0


def test_an_unknown_student_and_nobody_to_learn_from_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="student must be one of"):
        distilled(TEACHER, people(), "guru", seed=0)
    with pytest.raises(InvalidValueError, match="number of people must be >= 1, got 0"):
        distilled(TEACHER, people(0), "logistic", seed=0)
