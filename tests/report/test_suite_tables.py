import csv
import io
import json
from typing import Any

import pytest
from scipy.stats import ttest_rel

from dfl.errors import DataError
from dfl.report.report import suite_report
from dfl.report.suite_numbers import SuiteNumbers
from dfl.report.suite_plots import _by_data
from dfl.report.suite_tables import further_tables, main_tables, to_csv, to_markdown
from dfl.stats import across

CONFIG: dict[str, Any] = {
    "name": "x",
    "reference": "b",
    "data": {"one": {}, "two|3": {}, "none yet": {}},
    "methods": {"a": {}, "b": {}, "c": {}, "none yet": {}},
    "paper": {"Table 9": {"a": "0.7 ± 0.1"}},
}
SHARES = {"a": [0.5, 0.7, 0.9], "b": [0.4, 0.7, 0.6]}


def row(data: str, method: str, seed: int, **more: Any) -> dict[str, Any]:
    spec = {"name": "coupon", "sizes": {"rct": 10 if data == "one" else 30}}
    return {
        "data": data,
        "method": method,
        "seed": seed,
        "failed": None,
        "first_budget": "share=0.3",
        "cpu_seconds": {"a": 2.0, "b": 1.0, "c": 4.0}[method] + seed / 10,
        "rct_rows": spec["sizes"]["rct"],  # type: ignore[index]  # as written above
        "config": json.dumps({"data": spec}),
        **more,
    }


def rows(data: str = "one") -> list[dict[str, Any]]:
    return [
        row(
            *(data, method, seed),
            **{"share_of_gain@share=0.3": share, "eom@share=0.3": 10 * share},
            **{"share_of_gain@share=0.6": share / 2, "eom@share=0.6": 20 * share},
        )
        for method, shares in SHARES.items()
        for seed, share in enumerate(shares)
    ]


def numbers(*found: dict[str, Any]) -> SuiteNumbers:
    return SuiteNumbers(CONFIG, found)


def test_cells_of_fewer_seeds_say_so() -> None:
    found = [*rows(), row("one", "c", 0, **{"share_of_gain@share=0.3": 0.2})]
    (shares, *_) = main_tables(
        numbers(*[one for one in found if one["seed"] or one["method"] != "a"])
    )
    assert "of 3 seeds if not said otherwise" in shares.note
    cells = {line[0]: line[1:3] for line in shares.rows}
    assert all(cell.endswith(" (2 seeds)") for cell in cells["a"])
    assert cells["c"] == ["0.200 (1 seed)", "-0.200 (1 seed)"]
    assert "seed" not in cells["b"][0]


def test_means_errors_and_paired_differences() -> None:
    (shares, *_) = main_tables(numbers(*rows()))
    assert shares.columns == ["method", "one", "one: minus b", "paper: Table 9"]
    own = across(SHARES["a"], 0.95)
    pair = across([0.1, 0.0, 0.3], 0.95)
    mean = f"{own['value']:.3f} ± {own['standard_error']:.3f}"
    difference = f"{pair['value']:+.3f} [{pair['low']:+.3f}, {pair['high']:+.3f}]"
    assert shares.rows[0] == ["a", mean, difference, "0.7 ± 0.1"]
    assert shares.rows[1][2:] == ["", ""]
    assert "of 3 seeds" in shares.note


def test_times_are_compared_by_their_ratio() -> None:
    times = next(table for table in main_tables(numbers(*rows())) if "seconds" in table.title)
    assert times.columns[2] == "one: over b"
    assert times.rows[0][2].startswith("1.91 [")


def test_a_time_of_0_has_no_ratio_and_nan_is_no_value() -> None:
    found = rows()
    for one in found:
        if one["method"] == "b":
            one["cpu_seconds"] = 0.0 if one["seed"] else 1.0
        one["eom@share=0.3"] = one["share_of_gain@share=0.6"] = float("nan")
    kept = numbers(*found)
    assert kept.against("cpu_seconds", "one", "a", ratio=True) == {"value": 2.0, "seeds": 1}
    assert kept.against("cpu_seconds", "one", "a")["seeds"] == 3  # type: ignore[index]
    assert kept.mean("eom@share=0.3", "one", "a") is None
    assert not [one for one in main_tables(kept) if "from logs" in one.title]
    assert "nan" not in to_markdown([*main_tables(kept), *further_tables(kept)])


def test_values_at_the_budget_that_each_data_set_was_first_budget() -> None:
    other = [row("two|3", "a", 0, **{"eom@share=0.5": 7.0}) | {"first_budget": "share=0.5"}]
    eom = next(one for one in main_tables(numbers(*rows(), *other)) if "from logs" in one.title)
    assert eom.columns[:4] == ["method", "one", "one: minus b", "two|3"]
    assert eom.rows[0][3] == "7 (1 seed)"
    titles = [table.title for table in further_tables(numbers(*rows(), *other))]
    assert "Revenue per head (from logs) at share=0.5" in titles
    assert not [title for title in titles if title.startswith("Qini")]  # nowhere measured


def test_seeds_that_failed_are_left_out_and_said() -> None:
    failed = row("one", "c", 0) | {"failed": "it diverged"}
    found = [one for one in rows() if (one["method"], one["seed"]) != ("b", 1)]
    tables = main_tables(numbers(*found, failed, row("one", "c", 1, **{"eom@share=0.3": 1.0})))
    pair = across([0.1, 0.3], 0.95)
    assert tables[0].rows[0][2].startswith(f"{pair['value']:+.3f} [")
    assert tables[-1].rows == [["c", "one", "1 of 2", "it diverged"]]


def test_one_seed_has_no_error_and_the_table_says_so() -> None:
    one = [found for found in rows() if found["seed"] == 0]
    shares = main_tables(numbers(*one))[0]
    assert shares.rows[0][1:3] == ["0.500", "+0.100"]
    assert shares.note.startswith("Of one seed: nothing says how sure values and differences are")
    assert "±" in main_tables(numbers(*rows()))[0].note


def test_intervals_are_those_of_the_paired_t_test() -> None:
    pair = numbers(*rows()).against("share_of_gain@share=0.3", "one", "a")
    found = ttest_rel(SHARES["a"], SHARES["b"]).confidence_interval(0.95)
    assert pair is not None
    assert (pair["low"], pair["high"]) == pytest.approx((found.low, found.high))


def test_differences_are_to_the_first_method_where_the_reference_is_left_out() -> None:
    third = [one | {"method": "c"} for one in rows() if one["method"] == "a"]
    found = numbers(*(one for one in (*rows(), *third) if one["method"] != "b"))
    (shares, *_) = main_tables(found)
    assert shares.columns[2] == "one: minus a"
    assert [line[2] for line in shares.rows] == ["", "+0.000 [+0.000, +0.000]"]


def test_csv_has_the_numbers_unrounded() -> None:
    found = numbers(*rows(), *rows("two|3"))
    lines = list(csv.DictReader(io.StringIO(to_csv(found))))
    line = next(
        one
        for one in lines
        if (one["metric"], one["data"], one["method"]) == ("share_of_gain@share=0.3", "two|3", "a")
    )
    assert float(line["mean"]) == pytest.approx(0.7)
    assert float(line["difference"]) == pytest.approx(0.4 / 3)
    assert float(line["standard_error"]) == pytest.approx(
        across(SHARES["a"], 0.95)["standard_error"]
    )
    assert line["seeds"] == "3"
    assert {one["difference"] for one in lines if one["method"] == "b"} == {""}


def test_markdown_keeps_its_columns() -> None:
    text = to_markdown(main_tables(numbers(*rows("two|3"))))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines[0] == "| method | two/3 | two/3: minus b | paper: Table 9 |"
    assert {line.count(" | ") for line in lines[:4]} == {3}
    failed = row("one", "c", 0) | {"failed": "it diverged:\n  | at step 3"}
    assert "| c | one | 1 of 1 | it diverged: / at step 3 |" in to_markdown(
        main_tables(numbers(*rows(), failed))
    )


def test_plots_are_those_with_something_to_show() -> None:
    report = suite_report(CONFIG, rows(), "name: x")
    assert list(report.plots) == ["one, value against budget", "one, value against time"]
    third = [one | {"method": "c"} for one in rows() if one["method"] == "a"]
    sized = [*rows(), *third, *rows("two|3")]
    report = suite_report(CONFIG, sized, "name: x")
    assert {"one, critical differences", "one and other sizes, value against RCT rows"} <= set(
        report.plots
    )
    files = report.files()
    assert "could not be drawn" not in files["report.html"].decode()
    assert {"tables.md", "tables.csv", "report.html"} < files.keys()
    assert sum(name.startswith("plots/") for name in files) == len(report.plots)


def test_ranks_over_data_sets_need_three_of_each() -> None:
    config = CONFIG | {"data": {"one": {}, "d2": {}, "d3": {}}}
    many = [
        one | {"data": data, "method": method}
        for data in config["data"]
        for method in "abc"
        for one in rows()
        if one["method"] == "a"
    ]
    plots = suite_report(config, many, "").plots
    assert "all data sets, critical differences" in plots
    fewer = suite_report(config, [one for one in many if one["data"] != "d3"], "").plots
    assert "all data sets, critical differences" not in fewer


def test_ranks_over_data_sets_are_of_the_seeds_that_all_methods_have() -> None:
    """Method a is the best in every seed; c failed in the one that is hard for all."""
    config = CONFIG | {"data": {"one": {}, "d2": {}, "d3": {}}}
    scores = {"a": (0.1, 0.8, 0.8), "b": (0.0, 0.6, 0.6), "c": (None, 0.7, 0.7)}
    many = [
        row(data, method, seed, **{"share_of_gain@share=0.3": share, "eom@share=0.3": share})
        for data in config["data"]
        for method, shares in scores.items()
        for seed, share in enumerate(shares)
    ]
    found = _by_data(SuiteNumbers(config, many))
    assert found is not None
    assert found[1].tolist() == [pytest.approx([0.8, 0.6, 0.7])] * 3


def test_what_nothing_is_known_of_has_no_plot() -> None:
    failed = [one | {"failed": "x", "cpu_seconds": None} for one in rows()]
    assert "one, value against time" not in suite_report(CONFIG, failed, "").plots


def test_two_treatments_are_ranked_by_the_true_area() -> None:
    found = numbers(*(one | {"true_aucc": 0.6} for one in rows()))
    assert found.score("one") == "true_aucc"
    assert numbers(*rows()).score("one") == "share_of_gain@first"
    bare = [{k: v for k, v in one.items() if "share_of" not in k} for one in rows()]
    assert numbers(*bare).score("one") == "eom@first"


def test_rows_of_something_else_are_refused() -> None:
    with pytest.raises(DataError, match="the rows are not those of a suite"):
        suite_report(CONFIG, [{"data": "one", "method": "a", "seed": 0}], "")
