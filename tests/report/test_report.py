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
