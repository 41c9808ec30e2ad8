import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dfl.budget import Budget
from dfl.data.sources.reading import column_names
from dfl.errors import ConfigError, DataError, DflError, InfeasibleProblemError, InvalidValueError
from dfl.pipeline import Asked, Planned, plan_file
from dfl.pipeline.plan_table import PlanTable
from dfl.pipeline.scoring import ColumnScores

NAMES = ("none", "mail", "call")
SCORES = ColumnScores(NAMES, ("c_none", "c_mail", "c_call"))


def table(rows: int = 6, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    earns = generator.random((rows, 3)).cumsum(axis=1).round(3)
    costs = np.c_[np.zeros(rows), generator.random((rows, 2)).cumsum(axis=1).round(3)]
    found = pd.DataFrame(earns, columns=list(NAMES)).assign(
        c_none=costs[:, 0], c_mail=costs[:, 1], c_call=costs[:, 2]
    )
    found["id"] = [f"00{k}" for k in range(rows)]
    found["region"] = [("north", "south")[k % 2] for k in range(rows)]
    found["phone"] = [int(k % 3 > 0) for k in range(rows)]
    found["fixed"] = ["", "call", *[""] * (rows - 2)]
    found["before"] = [("none", "mail", "")[k % 3] for k in range(rows)]
    return found


def planned(folder: Path, frame: pd.DataFrame, asked: Asked, **options: Any) -> tuple[Planned, Any]:
    frame.to_csv(folder / "people.csv", index=False)
    output = folder / "plan.csv"
    done = plan_file(
        SCORES, folder / "people.csv", output, asked, keep=["id"], overwrite=True, **options
    )
    return done, pd.read_csv(output, dtype={"id": str}, keep_default_na=False)


def limits(folder: Path, **columns: Any) -> Path:
    path = folder / "limits.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def best(frame: pd.DataFrame, rule: Any) -> float:
    earns, costs = frame[list(NAMES)].to_numpy(), frame[list(SCORES.cost)].to_numpy()
    place = np.arange(len(frame))
    every = (np.array(one) for one in itertools.product(range(3), repeat=len(frame)))
    return max(earns[place, choice].sum() for choice in every if rule(choice, costs[place, choice]))


def test_every_person_gets_what_the_plan_says(tmp_path: Path) -> None:
    frame = table(50)
    done, out = planned(tmp_path, frame, Asked(budget=Budget(total=10.0)))
    assert list(out.columns) == [
        *("row", "id", "treatment", "treatment_name", "predicted_revenue", "predicted_cost")
    ]
    assert list(out["id"]) == list(frame["id"])
    assert list(out["treatment"]) == done.plan.choice.tolist()
    assert out["predicted_cost"].sum() == pytest.approx(done.plan.cost)
    assert out["predicted_revenue"].sum() == pytest.approx(done.plan.revenue)
    assert done.plan.cost <= 10
    assert done.names == NAMES


def test_groups_have_their_own_limits(tmp_path: Path) -> None:
    frame = table()
    path = limits(tmp_path, region=["south", "north"], budget=[0.8, 1.1], call=[None, 1])
    asked = Asked(by="region", limits=path)
    done, _ = planned(tmp_path, frame, asked, solver="mixed-integer")
    north = (frame["region"] == "north").to_numpy()

    def rule(choice: Any, spent: Any) -> bool:
        money = spent[north].sum() <= 1.1 + 1e-9 and spent[~north].sum() <= 0.8 + 1e-9
        return bool(money and (choice[north] == 2).sum() <= 1)

    assert done.plan.revenue == pytest.approx(best(frame, rule), abs=1e-5)
    assert [one.name for one in done.plan.used] == [
        "money of north",
        "call in north",
        "money of south",
    ]
    assert done.plan.gap < 1e-6


def test_amounts_are_those_of_the_file(tmp_path: Path) -> None:
    frame = table(100).assign(none=0, c_none=0, mail=0.3, c_mail=0.1, call=0, c_call=1)
    done, out = planned(tmp_path, frame, Asked(budget=Budget(total=10.0)))
    assert set(out["treatment_name"]) == {"mail"}
    assert set(out["predicted_cost"]) == {0.1}
    assert set(out["predicted_revenue"]) == {0.3}
    assert done.plan.gap == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("total", [None, 2.6])
def test_groups_have_least_people_and_least_money(tmp_path: Path, total: float | None) -> None:
    frame = table(6)
    floors = {"at least mail": [None, 2], "at least budget": [1.3, None]}
    path = limits(tmp_path, region=["south", "north"], budget=[1.6, 1.2], **floors)
    budget = None if total is None else Budget(total=total)
    done, out = planned(tmp_path, frame, Asked(by="region", limits=path, budget=budget))
    north = (frame["region"] == "north").to_numpy()

    def rule(choice: Any, cost: Any) -> bool:
        held = total is None or cost.sum() <= total
        held &= cost[north].sum() <= 1.2 and 1.3 <= cost[~north].sum() <= 1.6
        return bool(held and (choice[north] == 1).sum() >= 2)

    assert rule(out["treatment"].to_numpy(), out["predicted_cost"].to_numpy())
    assert best(frame, rule) - done.plan.gap - 1e-9 <= done.plan.revenue <= best(frame, rule) + 1e-9
    names = [one.name for one in done.plan.used]
    assert "short of the most, at least mail in north" in names
    for name, most in (("at least mail", [None, 4]), ("at least budget", [None, 99])):
        path = limits(tmp_path, region=["south", "north"], **{name: most})
        with pytest.raises(InfeasibleProblemError, match=f"^{name} of north in .* must be at most"):
            planned(tmp_path, frame, Asked(by="region", limits=path, budget=budget))


def test_limits_of_groups_that_stand_apart_hold_their_own_rows(tmp_path: Path) -> None:
    frame = table(50).assign(store=[f"s{k % 10}" for k in range(50)])
    frame.to_csv(tmp_path / "people.csv", index=False)
    path = limits(tmp_path, store=[f"s{k}" for k in range(10)], budget=1.0, call=2)
    asked = Asked(by="store", limits=path)
    read = PlanTable.read(tmp_path / "people.csv", SCORES, asked, ())
    _, cost = SCORES.of(read.frame.table.to_arrow())
    assert [one.use.shape for one in read.wishes(asked, cost).limits] == [(5, 3)] * 20
    together = Asked(by="store", limits=path, budget=Budget(total=9.0))
    assert {one.use.shape for one in read.wishes(together, cost).limits} == {(50, 3)}


def test_places_are_said_by_the_names_of_treatments(tmp_path: Path) -> None:
    asked = Asked(
        budget=Budget(total=10.0), capacity=["call=2", "mail+call=5"], at_least=["none=1"]
    )
    done, _ = planned(tmp_path, table(), asked)
    assert [one.name for one in done.plan.used] == [
        *("money", "people on mail+call", "people not on none", "people on call")
    ]


def test_a_column_can_be_a_number_and_the_name_of_a_group(tmp_path: Path) -> None:
    frame = table(50).assign(phone=[f"0{k % 2}" for k in range(50)])
    own = limits(tmp_path, phone=["00", "01"], budget=[3.0, 4.0])
    asked = Asked(by="phone", limits=own, only_if=("call=phone",))
    done, out = planned(tmp_path, frame, asked)
    assert [one.name for one in done.plan.used] == ["money of 00", "money of 01"]
    assert not (out["treatment_name"][frame["phone"] == "00"] == "call").any()


def test_a_total_holds_groups_together(tmp_path: Path) -> None:
    frame = table(seed=1)
    path = limits(tmp_path, region=["south", "north"], budget=[0.9, None])
    asked = Asked(by="region", limits=path, budget=Budget(total=1.5))
    done, _ = planned(tmp_path, frame, asked, solver="mixed-integer")
    south = (frame["region"] == "south").to_numpy()

    def rule(_: Any, spent: Any) -> bool:
        return bool(spent.sum() <= 1.5 + 1e-9 and spent[south].sum() <= 0.9 + 1e-9)

    assert done.plan.revenue == pytest.approx(best(frame, rule), abs=1e-5)


@pytest.mark.parametrize("none", [None, float("inf")])
def test_a_group_without_money_limit_spends_what_pays(tmp_path: Path, none: float | None) -> None:
    frame = table()
    path = limits(tmp_path, region=["south", "north"], budget=[0.0, none], call=[none, none])
    done, out = planned(tmp_path, frame, Asked(by="region", limits=path))
    assert set(out["treatment_name"][1::2]) == {"none"}
    assert set(out["treatment_name"][::2]) == {"call"}  # earns most wherever money is no matter
    assert [one.name for one in done.plan.used] == ["money of south"]
    assert done.plan.gap < 1e-6


def test_channels_masks_frozen_decisions_and_few_changes(tmp_path: Path) -> None:
    frame = table(seed=2)
    asked = Asked(
        budget=Budget(total=4.0),
        shared=["mail+call=2.0", "call=1.9"],
        capacity=["mail=2", "none+mail=4"],
        at_least=["call=1", "none=2"],
        only_if=["call=phone"],
        freeze="fixed",
        last="before",
        max_changes=3,
    )
    done, out = planned(tmp_path, frame, asked, solver="mixed-integer")
    phone = frame["phone"].to_numpy() == 1
    before = frame["before"].map({"none": 0, "mail": 1, "": -1}).to_numpy()

    def rule(choice: Any, spent: Any) -> bool:
        changes = ((choice != before) & (before >= 0)).sum()
        shares = spent.sum() <= 2.0 + 1e-6 and spent[choice == 2].sum() <= 1.9 + 1e-6
        people = (choice == 1).sum() <= 2 and phone[choice == 2].all() and choice[1] == 2
        people &= (choice < 2).sum() <= 4 and (choice == 0).sum() >= 2
        return bool(shares and people and changes <= 3)

    assert done.plan.revenue == pytest.approx(best(frame, rule), abs=1e-5)
    assert out["treatment_name"][1] == "call"
    changed = (out["treatment"].to_numpy() != before) & (before >= 0)
    assert (
        list(out["changed"]) == [str(bool(one)).lower() for one in changed]
        or list(out["changed"]) == changed.tolist()
    )
    assert done.plan.changes == changed.sum()


def test_what_if_says_what_other_amounts_do(tmp_path: Path) -> None:
    frame = table(100)
    asked = Asked(target_revenue=110.0)
    done, _ = planned(tmp_path, frame, asked, factors=[1.0, 0.5, 9.0])
    assert [row.factor for row in done.table] == [0.5, 1.0, 9.0]
    half, same, none = done.table
    assert half.plan is not None
    assert same.plan is not None
    assert half.plan.cost <= same.plan.cost == done.plan.cost
    assert none.plan is None
    assert "target_revenue must be at most" in none.why
    path = limits(tmp_path, region=["south", "north"], budget=[2.0, 3.0], call=[1, 4])
    done, _ = planned(tmp_path, frame, Asked(by="region", limits=path), factors=[2.0])
    (twice,) = done.table
    assert twice.plan is not None
    assert {one.name: one.at_most for one in twice.plan.used} == {
        "money of north": 6.0,
        "money of south": 4.0,
        "call in north": 4.0,
        "call in south": 1.0,
    }


def test_parquet_in_and_out(tmp_path: Path) -> None:
    table(40).to_parquet(tmp_path / "people.parquet")
    output = tmp_path / "plan.parquet"
    asked = Asked(marginal_return=0.7, last="before", switching_cost=0.05)
    done = plan_file(SCORES, tmp_path / "people.parquet", output, asked, keep=["id", "region"])
    out = pd.read_parquet(output)
    assert out["changed"].sum() == done.plan.changes
    assert list(out["region"]) == list(table(40)["region"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"by": "region"}, "give both --by and --limits"),
        ({"capacity": ["fax=2"]}, "capacity must name one of none, mail, call, got 'fax'"),
        ({"capacity": ["mail"]}, "capacity must be NAME=AMOUNT, got 'mail'"),
        ({"capacity": ["mail=many"]}, "capacity must be NAME=AMOUNT, got 'mail=many'"),
        ({"capacity": ["mail=-1"]}, "capacity mail must be >= 0"),
        ({"capacity": ["mail=5", "call=1", "mail=3"]}, "capacity mail is given twice; leave one"),
        ({"capacity": ["mail+fax=3"]}, "capacity must name one of none, mail, call, got 'fax'"),
        ({"at_least": ["fax=2"]}, "at-least must name one of none, mail, call, got 'fax'"),
        ({"at_least": ["mail=5", "mail=3"]}, "at-least mail is given twice; leave one out"),
        ({"shared": ["mail+fax=3"]}, "budget-of must name one of none, mail, call, got 'fax'"),
        ({"only_if": ["fax=phone"]}, "only-if must be TREATMENT=COLUMN"),
        ({"only_if": ["call=none"]}, "column 'none' must say by 0 and 1"),
        ({"only_if": ["call=nowhere"]}, r"must have the columns \['nowhere'\]"),
        ({"freeze": "region"}, "column 'region' must name treatments, none, mail, call, or be emp"),
        ({"by": "before", "limits": Path("limits.csv")}, "column 'before' must name a group in"),
    ],
)
def test_mistakes_in_what_is_asked(tmp_path: Path, asked: dict[str, Any], message: str) -> None:
    frame = table()
    if "by" in asked:
        frame["before"] = frame["before"].replace("", None)
    with pytest.raises((ConfigError, DataError, InvalidValueError), match=message):
        planned(tmp_path, frame, Asked(budget=Budget(total=3.0), **asked))
    assert not (tmp_path / "plan.csv").exists()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"region": ["north"], "budget": [1]}, "have a row for every group .* it lacks 'south'"),
        ({"region": ["north", "north"], "budget": [1, 2]}, "must name every group .* once"),
        ({"region": ["north", "south"], "fax": [1, 2]}, "names of treatments .* got 'fax'"),
        ({"area": ["north", "south"]}, r"must have the columns \['region'\]"),
        ({"region": ["north", "south"], "budget": [1, -2]}, "budget of south in .* must be >= 0"),
    ],
)
def test_mistakes_in_a_table_of_limits(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    path = limits(tmp_path, **columns)
    with pytest.raises(DflError, match=message):
        planned(tmp_path, table(), Asked(by="region", limits=path))


@pytest.mark.parametrize(("by", "twice"), [("budget", "budget"), ("call", "call")])
def test_limits_tell_groups_money_and_treatments_apart(tmp_path: Path, by: str, twice: str) -> None:
    frame = table().assign(budget="all")
    path = limits(tmp_path, **{by: ["all"], "mail": [1]})
    with pytest.raises(ConfigError, match=rf"treatments apart by name, got '{twice}' for two of"):
        planned(tmp_path, frame, Asked(by=by, limits=path))


MEASURED = {
    "budgets": [{"given": "share=0.3", "per_head": 0.5}],
    "spend": {"share=0.3": {"value": 1.25, "standard_error": 0.0, "low": 1.25, "high": 1.25}},
}


def test_a_margin_cuts_all_money_and_nothing_else(tmp_path: Path) -> None:
    path = limits(tmp_path, region=["south", "north"], budget=[5.0, 10.0], call=[3, 4])
    asked = Asked(by="region", limits=path)
    done, _ = planned(tmp_path, table(60), asked, margin=0.9, measured=MEASURED, factors=[1.0])
    assert done.margin is not None
    assert done.margin.share == pytest.approx(0.8)
    used = {one.name: one.at_most for one in done.plan.used}
    assert used["money of north"] == pytest.approx(8.0)
    assert used["money of south"] == pytest.approx(4.0)
    assert used["call in north"] == 4.0
    (same,) = done.table
    assert same.plan is not None
    assert same.plan.cost == done.plan.cost
    with pytest.raises(ConfigError, match="margin rests on what a run measured"):
        planned(tmp_path, table(60), asked, margin=0.9)
    with pytest.raises(ConfigError, match="margin cuts money; give a budget"):
        planned(tmp_path, table(), Asked(marginal_return=1.0), margin=0.9, measured=MEASURED)


def test_other_amounts_of_money_are_cut_by_the_margin_there(tmp_path: Path) -> None:
    dearer = {"given": "share=0.9", "per_head": 1.0}
    exact = {"value": 1.0, "standard_error": 0.0, "low": 1.0, "high": 1.0}
    measured = {
        "budgets": [*MEASURED["budgets"], dearer],
        "spend": {**MEASURED["spend"], "share=0.9": exact},
    }
    asked = Asked(budget=Budget(per_head=0.5))
    done, _ = planned(tmp_path, table(60), asked, margin=0.9, measured=measured, factors=[1.0, 2.0])
    assert [one.plan and one.plan.used[0].at_most for one in done.table] == [24.0, 60.0]


def test_other_amounts_of_nothing_are_refused(tmp_path: Path) -> None:
    for asked in (Asked(min_return=1.0), Asked(capacity=["call=3"])):
        with pytest.raises(ConfigError, match="what-if multiplies money, a target or a marginal"):
            planned(tmp_path, table(), asked, factors=[2.0])
    assert not (tmp_path / "plan.csv").exists()


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    table().to_csv(tmp_path / "people.csv", index=False)
    people, asked = tmp_path / "people.csv", Asked(budget=Budget(total=1.0), last="before")

    def to(output: Path, **options: Any) -> None:
        plan_file(SCORES, people, output, asked, **options)

    with pytest.raises(InvalidValueError, match="another file than the customers"):
        to(people, overwrite=True)
    path = limits(tmp_path, region=["south", "north"], budget=[1.0, 1.0])
    with pytest.raises(InvalidValueError, match="another file than the table of limits"):
        plan_file(SCORES, people, path, Asked(by="region", limits=path), overwrite=True)
    with pytest.raises(InvalidValueError, match="output must end in one of"):
        to(tmp_path / "plan.xls")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InvalidValueError, match=r"output must be a file, and .* is a folder"):
        to(tmp_path / "folder.csv", overwrite=True)
    with pytest.raises(InvalidValueError, match=r"column that is written, got \['changed'\]"):
        to(tmp_path / "plan.csv", keep=["changed"])
    with pytest.raises(InvalidValueError, match=r"column that is written, got \['row'\]"):
        to(tmp_path / "plan.csv", keep=["row"])
    with pytest.raises(InvalidValueError, match="what-if must be > 0"):
        to(tmp_path / "plan.csv", factors=[0.0])
    frozen = Asked(budget=Budget(total=0.01), freeze="fixed")
    with pytest.raises(InfeasibleProblemError, match="money must be at least"):
        plan_file(SCORES, people, tmp_path / "plan.csv", frozen)
    assert not (tmp_path / "plan.csv").exists()


def test_a_margin_that_leaves_too_little_is_named(tmp_path: Path) -> None:
    frame = table(60).assign(c_none=0.1, c_mail=0.2)
    with pytest.raises(InfeasibleProblemError, match=r"money .* \(The margin leaves 0\.8 of the"):
        planned(tmp_path, frame, Asked(budget=Budget(total=6.5)), margin=0.9, measured=MEASURED)


def test_an_output_is_written_as_it_is_read(tmp_path: Path) -> None:
    people, output = tmp_path / "people.csv", tmp_path / "plan.tsv.csv"
    table().to_csv(people, index=False)
    plan_file(SCORES, people, output, Asked(budget=Budget(total=1.0)))
    assert column_names(output)[:2] == ("row", "treatment")
