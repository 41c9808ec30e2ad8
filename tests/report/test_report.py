from typing import Any

import pytest

from dfl.errors import DataError
from dfl.report import report as module
from dfl.report.report import comparison_report, run_report
from tests.report.sample import comparison, history, metrics


def test_a_run_has_three_plots_and_the_page_last() -> None:
    report = run_report(metrics(), history(), "method: tsm-sl")
    assert list(report.files()) == [
        "plots/value-against-budget.png",
        "plots/mix-against-budget.png",
        "plots/training.png",
        "report.html",
    ]
    page = report.files()["report.html"].decode()
    assert "tsm-sl on coupon" in page
    assert "method: tsm-sl" in page
    assert page.count("<img") == 3


def test_a_comparison_has_one_plot() -> None:
    report = comparison_report(comparison(), "seeds: 1")
    assert list(report.files()) == ["plots/methods.png", "report.html"]
    assert "Comparison on coupon" in report.files()["report.html"].decode()


def test_plots_are_drawn_when_they_are_written_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(module, "draw", lambda plot, results: drawn.append(plot) or b"png")
    report = run_report(metrics(), history(), "method: tsm-sl")
    assert report.tables
    assert drawn == []
    report.files()
    assert len(drawn) == 3


@pytest.mark.parametrize("broken", [{}, {"name": 3}, {**metrics(), "budgets": [3]}])
def test_results_of_the_wrong_shape(broken: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"metrics\.json does not hold the metrics of a run"):
        run_report(broken, history(), "")
    with pytest.raises(DataError, match=r"comparison\.json does not hold a comparison"):
        comparison_report({"data": "x", **broken}, "")


def test_what_a_model_says_of_itself_is_told_and_drawn() -> None:
    said = {
        "words": ["10%: the predictions overrate it for customers with high <b>age</b>."],
        "correction": {"features": ["$x_1", "b"], "treatments": ["10%"], "shares": [[-0.2], [0.0]]},
    }
    report = run_report(metrics() | {"model": said}, history(), "method: grounded")
    files = report.files()
    assert "plots/what-the-experiment-corrected.png" in files
    page = files["report.html"].decode()
    assert "high &lt;b&gt;age&lt;/b&gt;" in page
    assert "could not be drawn" not in page
    plain = run_report(metrics() | {"model": {}}, history(), "method: tsm-sl")
    assert len(plain.files()) == 4


def test_numbers_that_are_missing_and_halves_of_letters_do_not_cost_the_page() -> None:
    found = metrics()
    found["curve"][1]["value"] = float("nan")
    found["arms"]["half \ud83d"] = found["arms"].pop("10%")
    files = run_report(found, history(), "").files()
    page = files["report.html"].decode()
    assert 'id="numbers"' not in page
    assert "half \\ud83d" in page
    assert "plots/value-against-budget.png" in files
