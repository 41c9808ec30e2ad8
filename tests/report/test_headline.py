from typing import Any

import pytest

from dfl.report.headline import (
    change_words,
    comparison_headline,
    interval,
    money,
    run_headline,
    verdict,
)
from tests.report.sample import comparison, estimate, full_metrics, metrics


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.25, "0.25"),
        (-0.000123456, "-0.0001235"),
        (1234.56, "1,235"),
        (9999.96, "10,000"),
        (123456.0, "123,500"),
        (1.0, "1"),
        (100.0, "100"),
        (float("inf"), "inf"),
    ],
)
def test_money_has_four_digits_that_say_something(value: float, text: str) -> None:
    assert money(value) == text


def test_the_ends_of_an_interval_are_rounded_as_its_largest() -> None:
    found = {"value": 0.00036281, "low": -0.000000136, "high": 0.0007257}
    assert interval(found) == "0.0003628 [-0.0000001, 0.0007257]"
    assert interval({"value": 105.31, "low": -0.01, "high": 270.0}) == "105.3 [0, 270]"


def test_the_first_sentence_is_about_money_and_chance() -> None:
    said = run_headline(full_metrics())
    assert said[0] == (
        "Spending 250 on 1,000 people as tsm-sl advises earns 5,000 [4,000, 6,000], 750 [250, "
        "1,250] more than the least that can be spent, 0: beyond chance."
    )
    assert said[1] == (
        "That is 750 [250, 1,250] more than the best constant mix of treatments, which needs no "
        "model: beyond chance."
    )
    assert said[2].startswith(
        "Doing as today costs 300 and earns 5,500 [4,500, 6,500], by 5,000 logged rows. For 300 "
        "the model earns 250 [-750, 1,250] less: not shown to be beyond chance"
    )
    assert said[-1].endswith("in brackets their intervals of 90%.")


def test_a_folder_of_an_earlier_version_has_its_sentence_too() -> None:
    said = run_headline(metrics())
    assert said[0].endswith("earns 5,000 [4,000, 6,000].")
    assert said[1].endswith("mix of treatments, without a model, earns 4,000 [3,000, 5,000].")
    assert len(said) == 3
    assert change_words(metrics()) == []


def test_a_tenth_more_or_less() -> None:
    more, less = change_words(full_metrics())
    assert more == (
        "A tenth more, 275 for 1,000 people, would change revenue by 750 [250, 1,250]: beyond "
        "chance."
    )
    assert less.endswith("by -250 [-1,250, 750]: no change is shown.")


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 2.0, "beyond chance"),
        (-1.0, 2.0, "not shown to be beyond chance"),
        (-2.0, -0.1, "a loss beyond chance"),
    ],
)
def test_verdicts(low: float, high: float, said: str) -> None:
    assert verdict({"value": 0.0, "low": low, "high": high}) == said


def test_an_amount_without_error_stands_alone() -> None:
    assert interval({"value": 2.5}) == "2.5"


def test_a_comparison_names_the_best_and_warns() -> None:
    found: dict[str, Any] = comparison()
    found["budgets"][0]["methods"]["bi-dfcl"]["against_best_mix"] = estimate(2.0)
    first, warning = comparison_headline(found)
    assert first == (
        "At budget share=0.3, bi-dfcl earns most of 2 methods: 5,000 [4,000, 6,000] for 1,000 "
        "people, 1,000 [0, 2,000] more than tsm-sl: not shown to be beyond chance; 2,000 [1,000, "
        "3,000] more than the best constant mix of treatments: beyond chance."
    )
    assert "looks better than it is" in warning
