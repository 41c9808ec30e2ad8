import pytest

from dfl.report import comparison_tables, run_tables
from dfl.report.tables import arms_table
from tests.report.sample import comparison, metrics


def test_a_run_shows_value_references_and_truth() -> None:
    value, arms = run_tables(metrics())
    assert value.title == "tsm-sl: value within the budget"
    row = dict(zip(value.columns, value.rows[0], strict=True))
    assert row["estimated value"] == "5 [4, 6]"
    assert row["best constant mix"] == "4 [3, 5]"
    assert row["share of gain"] == "0.500"
    assert arms.rows[0] == ("none", "1,200", "2", "0")


def test_a_published_data_set_is_credited() -> None:
    assert run_tables(metrics())[1].note == ""
    assert run_tables(metrics() | {"source": "Title. Author."})[1].note == "Title. Author."


def test_without_truth_there_are_no_columns_for_it() -> None:
    value = run_tables(metrics(truth=False))[0]
    assert "oracle" not in value.columns
    assert len(value.rows[0]) == len(value.columns)


def test_an_undefined_share_is_empty() -> None:
    found = metrics()
    found["budgets"][0]["true"]["share_of_gain"] = None
    assert run_tables(found)[0].rows[0][-1] == ""


def test_a_model_that_misses_the_budget_is_named() -> None:
    assert "No multiplier" not in run_tables(metrics())[0].note
    assert "share=0.3: 25%" in run_tables(metrics(mixed=0.25))[0].note


def test_the_area_or_why_there_is_none() -> None:
    found = metrics() | {"aucc": {"value": 0.6, "low": 0.5, "high": 0.7}}
    assert run_tables(found)[-1].rows == [("AUCC", "0.6 [0.5, 0.7]")]
    found["aucc"] = {"undefined": "the effect is 0"}
    assert run_tables(found)[-1].rows == [("AUCC", "the effect is 0")]


def test_a_comparison_shows_differences_and_references() -> None:
    (table,) = comparison_tables(comparison())
    assert table.title == "Budget share=0.3"
    assert table.note == "A note."
    rows = {row[0]: row for row in table.rows}
    assert list(rows) == ["tsm-sl", "bi-dfcl", "best constant mix", "oracle"]
    assert rows["bi-dfcl"][1:3] == ["5 [4, 6]", "+1 [0, 2]"]
    assert rows["bi-dfcl"][-1] == "+0.125"
    assert rows["tsm-sl"][2] == ""
    assert rows["oracle"][1] == ""


def test_a_comparison_without_truth() -> None:
    (table,) = comparison_tables(comparison(truth=False))
    assert all(len(row) == len(table.columns) == 3 for row in table.rows)


def test_rows_of_every_part_are_counted() -> None:
    tables = run_tables(metrics() | {"rows": {"rct": 1200, "test": 800}})
    assert tables[1].rows == [("rct", "1,200"), ("test", "800")]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-2.0, -1.0, "LESS than the best constant mix of treatments, which needs no model, at sha"),
        (-1.0, 1.0, "Not shown to earn more than the best constant mix at share=0.3."),
        (1.0, 2.0, ""),
    ],
)
def test_a_model_is_held_against_the_best_constant_mix(low: float, high: float, said: str) -> None:
    found = {"value": (low + high) / 2, "standard_error": 0.5, "low": low, "high": high}
    table = run_tables(metrics() | {"against_best_mix": {"share=0.3": found}})[0]
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["minus best mix"] == f"{found['value']:+.4g} [{low:.4g}, {high:.4g}]"
    assert said in table.note
    assert ("best constant mix" in table.note) == bool(said)


def test_what_an_allocation_really_costs_is_said() -> None:
    spend = {"share=0.3": {"value": 1.03, "standard_error": 0.01, "low": 1.01, "high": 1.05}}
    table = run_tables(metrics() | {"spend": spend})[0]
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["true cost / predicted"] == "1.030 [1.010, 1.050]"
    assert "more than predicted (share=0.3: 1.030 [1.010, 1.050] times)" in table.note
    assert "allocate 95.2% of it" in table.note
    spend["share=0.3"]["low"] = 0.99  # not shown
    assert "predicted" not in run_tables(metrics() | {"spend": spend})[0].note
    unknown = run_tables(metrics() | {"spend": {"share=0.3": None}})[0]
    assert unknown.rows[0][unknown.columns.index("true cost / predicted")] == ""


def test_a_comparison_tells_a_method_that_it_loses_to_the_best_mix() -> None:
    content = comparison()
    methods = content["budgets"][0]["methods"]
    first, second = list(methods)[:2]
    methods[first]["against_best_mix"] = {"value": -2.0, "low": -3.0, "high": -1.0}
    methods[second]["against_best_mix"] = {"value": 0.1, "low": -1.0, "high": 1.2}
    (table,) = comparison_tables(content)
    assert table.columns[3] == "minus best mix"
    assert table.rows[0][3] == "-2 [-3, -1]"
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert f"which needs no model, for {first}: use the mix there" in table.note
    assert f"Not shown to earn more than the best constant mix for {second}." in table.note


def test_the_true_cost_of_every_treatment() -> None:
    assert "true cost / predicted" not in arms_table(metrics()).columns
    names = list(metrics()["arms"])
    ratio = {"value": 1.03, "standard_error": 0.01, "low": 1.01, "high": 1.05}
    costs = dict.fromkeys(names) | {names[0]: ratio}
    table = arms_table(metrics() | {"arm_costs": costs})
    assert table.columns[-1] == "true cost / predicted"
    assert [row[-1] for row in table.rows] == ["1.030 [1.010, 1.050]"] + [""] * (len(names) - 1)
