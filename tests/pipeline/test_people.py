from dataclasses import dataclass, field, replace
from typing import Any, final

import pandas as pd
import pytest
import torch
from torch import Tensor

from dfl.data import Encoding, FeatureEncoder, UpliftData
from dfl.models import AbstractModel, Prediction
from dfl.pipeline.people import FeatureGroup, feature_groups, who_gets_what
from dfl.problem import AllocationProblem
from dfl.solvers import GreedyDual

ROWS = 400
NAMES = ("none", "mail")


@final
@dataclass(frozen=True)
class Rule(AbstractModel):
    """Mail earns 3 for those older than 50 in the south, 1 for the others; it costs 1."""

    history: Any = field(default_factory=dict)
    features: int = 3
    treatments: int = 2

    def predict_rows(self, features: Tensor, *, spread: bool = False) -> Prediction:
        good = (features[:, 0] > 50) & (features[:, 2] > 0.5)
        earns = torch.stack([torch.zeros(len(good)), 1 + 2 * good.float()], dim=1)
        return Prediction(earns, torch.tensor([0.0, 1.0]).expand(len(good), 2))

    def state(self) -> Any:
        raise NotImplementedError

    @classmethod
    def of_state(cls, state: Any) -> "Rule":
        raise NotImplementedError


@final
@dataclass(frozen=True)
class Missing(AbstractModel):
    """Mail earns 2 for those whose age is missing, 1 for the others; it costs 1."""

    history: Any = field(default_factory=dict)
    features: int = 2
    treatments: int = 2

    def predict_rows(self, features: Tensor, *, spread: bool = False) -> Prediction:
        earns = torch.stack([torch.zeros(len(features)), 1 + features[:, 1]], dim=1)
        return Prediction(earns, torch.tensor([0.0, 1.0]).expand(len(features), 2))

    def state(self) -> Any:
        raise NotImplementedError

    @classmethod
    def of_state(cls, state: Any) -> "Missing":
        raise NotImplementedError


def table() -> tuple[UpliftData, FeatureEncoder]:
    generator = torch.Generator().manual_seed(0)
    age = 20 + 60 * torch.rand(ROWS, generator=generator)
    south = torch.randint(2, (ROWS,), generator=generator)
    frame = pd.DataFrame(
        {"age": age.numpy(), "<b>city</b>": ["south" if one else "north" for one in south.tolist()]}
    )
    encoder = FeatureEncoder.fit(frame, ["age", "<b>city</b>"], Encoding())
    features = encoder.encode(frame)
    treatment = torch.arange(ROWS) % 2
    money = torch.ones(ROWS)
    return UpliftData(features, treatment, money, money, 2, "rct"), encoder


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    rows, encoder = table()
    model = Rule()
    predicted = model.predict(rows.features)
    many = float((predicted.revenue[:, 1] > 1).sum())
    allocation = GreedyDual().solve(AllocationProblem(predicted.revenue, predicted.cost, many))
    groups = feature_groups(rows, encoder)
    return who_gets_what(model, rows, predicted, allocation, groups, NAMES)


def test_the_rule_is_found_in_words(found: dict[str, Any]) -> None:
    (mailed,) = [rule for rule in found["rules"] if rule["treatment"] == "mail"]
    first, second = sorted(mailed["if"])
    assert first in ("<b>city</b> is south", "<b>city</b> is not north")
    assert second.startswith("age above ")
    assert float(second.split()[-1]) == pytest.approx(50, abs=2)
    assert mailed["share"] == 1.0
    assert found["agreement"] == 1.0
    assert sum(rule["people"] for rule in found["rules"]) == pytest.approx(1)
    sizes = [rule["people"] for rule in found["rules"]]
    assert sizes == sorted(sizes, reverse=True)


def test_columns_are_shuffled_as_wholes(found: dict[str, Any]) -> None:
    assert {one["column"] for one in found["importance"]} == {"age", "<b>city</b>"}
    # Half of the people are dealt another city; of them half are old: a fourth changes.
    city = {one["column"]: one["changed"] for one in found["importance"]}["<b>city</b>"]
    assert city == pytest.approx(0.25, abs=0.06)


def test_groups_add_up(found: dict[str, Any]) -> None:
    assert [one["group"] for one in found["groups"]["<b>city</b>"]] == ["north", "south"]
    assert len(found["groups"]["age"]) == 4
    for parts in found["groups"].values():
        assert sum(one["people"] for one in parts) == pytest.approx(1)
        for one in parts:
            assert sum(one["shares"]) == pytest.approx(1)
            assert one["cost"] == pytest.approx(one["shares"][1])
    assert found["groups"]["<b>city</b>"][0]["shares"] == [1.0, 0.0]


def test_without_an_encoder_every_feature_is_a_column() -> None:
    rows, _ = table()
    assert feature_groups(rows, None)[2] == FeatureGroup("feature 2", slice(2, 3))
    named = UpliftData(
        rows.features,
        rows.treatment,
        rows.revenue,
        rows.cost,
        2,
        "rct",
        feature_names=("a", "b", "c"),
    )
    assert [one.name for one in feature_groups(named, None)] == ["a", "b", "c"]


def test_everyone_alike_is_one_rule_and_no_group() -> None:
    rows, _ = table()
    plain = UpliftData(torch.ones(ROWS, 3), rows.treatment, rows.revenue, rows.cost, 2, "rct")
    model = Rule()
    predicted = model.predict(plain.features)
    allocation = GreedyDual().solve(AllocationProblem(predicted.revenue, predicted.cost, 0.0))
    found = who_gets_what(model, plain, predicted, allocation, feature_groups(plain, None), NAMES)
    assert found["rules"] == [{"if": [], "people": 1.0, "treatment": "none", "share": 1.0}]
    assert found["groups"] == {}
    assert {one["changed"] for one in found["importance"]} == {0.0}


def test_people_whose_number_is_missing_are_a_group_and_a_condition() -> None:
    rows, _ = table()
    age = rows.features[:, 0].clone()
    age[::4] = float("nan")
    frame = pd.DataFrame({"age": age.numpy()})
    encoder = FeatureEncoder.fit(frame, ["age"], Encoding(missing="impute"))
    features = encoder.encode(frame)
    some = UpliftData(features, rows.treatment, rows.revenue, rows.cost, 2, "rct")
    (group,) = feature_groups(some, encoder)
    assert group == FeatureGroup("age", slice(0, 2), marked=True)
    predicted = Missing().predict(features)
    allocation = GreedyDual().solve(AllocationProblem(predicted.revenue, predicted.cost, ROWS / 4))
    found = who_gets_what(Missing(), some, predicted, allocation, [group], NAMES)
    assert [rule["if"] for rule in found["rules"]] == [["age is not missing"], ["age is missing"]]
    *quarters, missing = found["groups"]["age"]
    assert len(quarters) == 4
    assert (missing["group"], missing["people"], missing["shares"]) == ("missing", 0.25, [0.0, 1.0])
    assert sum(one["people"] for one in quarters) == pytest.approx(0.75)


@pytest.mark.parametrize("kinds", [4, 40])
def test_numbers_have_the_digits_that_sort_people(kinds: int) -> None:
    rows, _ = table()
    code = 10_115.0 + torch.arange(ROWS) % kinds
    features = torch.stack([code, torch.zeros(ROWS), torch.ones(ROWS)], dim=1)
    some = UpliftData(features, rows.treatment, rows.revenue, rows.cost, 2, "rct")
    choice = (code > 10_116).long()
    free = Missing().predict(features[:, :2])
    found = GreedyDual().solve(AllocationProblem(free.revenue, free.cost, float(ROWS)))
    told = who_gets_what(
        Rule(), some, free, replace(found, choice=choice), [FeatureGroup("zip", slice(0, 1))], NAMES
    )
    assert sorted(rule["if"] for rule in told["rules"]) == [
        ["zip above 10116"],
        ["zip at most 10116"],
    ]
    quarters = ["up to 10124.8", "10124.8 to 10134", "10134 to 10144", "above 10144"]
    labels = [f"{10_115 + k}" for k in range(4)] if kinds == 4 else quarters
    assert [one["group"] for one in told["groups"]["zip"]] == labels
