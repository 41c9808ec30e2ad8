import json
import re
from typing import Any

import pytest

from dfl.report.report import run_report
from dfl.report.sections import run_sections
from tests.report.sample import SEGMENTS, estimate, full_metrics, history, metrics
from tests.report.test_html import embedded, read


def titles(found: dict[str, Any]) -> list[str]:
    return [section.title for section in run_sections(found, "method: x")]


def test_sections_in_the_order_in_which_one_asks() -> None:
    assert titles(full_metrics()) == [
        "What a budget earns",
        "Who gets what",
        "Can the numbers be trusted?",
        "For the author: training and configuration",
    ]


def test_a_model_that_speaks_of_itself_has_a_section() -> None:
    found = full_metrics() | {"model": {"words": ["Revenue of <b>mail</b> was halved."]}}
    assert titles(found)[2] == "What the experiment corrected"
    text = run_report(found, history(), "").files()["report.html"].decode()
    assert "Revenue of &lt;b&gt;mail&lt;/b&gt; was halved." in text
    assert "What the experiment corrected" not in titles(full_metrics() | {"model": {}})


def test_segments_have_a_section_where_there_are_some() -> None:
    titled = [one.title for one in run_sections(full_metrics(), "x", SEGMENTS)]
    assert titled[2] == "Kinds of customers"
    text = run_report(full_metrics(), history(), "x", SEGMENTS).files()["report.html"].decode()
    assert "5% off everything" in text


def test_numbers_on_the_page_are_those_of_the_metrics() -> None:
    found = full_metrics()
    text = run_report(found, history(), "method: x").files()["report.html"].decode()
    numbers = embedded(text)
    assert numbers["curve"] == found["curve"]
    assert numbers["mix"] == found["mix"]
    assert numbers["groups"] == found["who"]["groups"]
    assert numbers["start"] == found["budgets"][0]["per_head"]
    words = " ".join(read(text).words)
    assert "earns 5,000 [4,000, 6,000]" in words  # 1,000 times 5 [4, 6]
    for shown in ("25.0%", "90%", "40.0%", "2.1 [1.9, 2.3]", "1,200", "60.0%", "+0.050"):
        assert shown in words, shown
    assert text.count("<img") == 5
    assert read(text).open == []


def test_a_folder_of_an_earlier_version_still_has_a_page() -> None:
    old = metrics()
    text = run_report(old, history(), "method: x").files()["report.html"].decode()
    assert "NaN" not in re.sub(r"base64,[^\"]*", "", text)
    assert embedded(text)["curve"] == json.loads(json.dumps(old["curve"]))
    bare = {key: value for key, value in old.items() if key not in ("curve", "mix")}
    without = run_report(bare, history(), "method: x").files()["report.html"].decode()
    assert "<script" not in without
    assert "could not be drawn" in without


def left_out(found: dict[str, Any]) -> list[Any]:
    (trust,) = [one for one in run_sections(found, "") if "trusted" in one.title]
    return [row for table in trust.tables if "left out" in table.title for row in table.rows]


def test_what_was_left_out_stands_with_its_reason() -> None:
    assert left_out(full_metrics()) == []  # an earlier version did not say
    assert left_out(full_metrics() | {"left_out": []}) == []
    unknown = {"sample_ratio": {"counts": [1, 2], "planned": None, "p_value": None}}
    found = full_metrics(**unknown, balance=None) | {
        "left_out": [["columns id", "no features (data.exclude)"]],
        "as_today": None,
        "spend": {"share=0.1": None, "share=0.3": estimate(1.0)},
    }
    assert [what for what, _ in left_out(found)] == [
        "columns id",
        "doing as today",
        "what an allocation really costs at share=0.1",
        "the check of the arms' rows",
        "the check that arms are alike",
    ]


BAD = "<b>$x_1^2</b>"


def test_names_of_features_and_treatments_are_text() -> None:
    found = full_metrics(BAD)
    found["arms"] = {BAD: found["arms"]["none"], "</script>": found["arms"]["10%"]}
    text = run_report(found | {"name": BAD}, history(), BAD).files()["report.html"].decode()
    page = read(text)
    assert page.open == []
    assert "b" not in page.tags
    assert page.tags.count("script") == 2
    assert "could not be drawn" not in text
    assert embedded(text)["treatments"] == [BAD, "</script>"]


@pytest.mark.parametrize(
    ("health", "said"),
    [
        ({}, "No check of the rows and predictions sounds an alarm."),
        (
            {"sample_ratio": {"counts": [1, 2], "planned": [0.5, 0.5], "p_value": 1e-9}},
            "do not have the rows that their propensities promise (p = 1e-09)",
        ),
        ({"balance": {"feature": "age", "p_value": 1e-6}}, "Randomised arms differ in age"),
        ({"overlap": [0.2, 0.001]}, "Logged rows hardly tell what 10% would do"),
        (
            {"drift": [{"feature": "age", "shift": -0.5, "error": 0.02}]},
            "age differs by -0.50 standard deviations",
        ),
    ],
)
def test_checks_that_sound_an_alarm_say_so(health: dict[str, Any], said: str) -> None:
    (trust,) = [one for one in run_sections(full_metrics(**health), "") if "trusted" in one.title]
    assert said in " ".join(trust.words)
    assert len(trust.words) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"predicted": 3.0}, "Mean revenue is predicted as 3 per head and is 2.1 [1.9, 2.3]."),
        ({"slope": 0.5}, "Where the model predicts 1 more of revenue, 0.5 more is observed"),
        ({"slope": 0.5, "slope_error": 0.4}, "No check"),
        ({"slope": None}, "No check"),
        ({"predicted": 2.35}, "No check"),
    ],
)
def test_predictions_that_are_off(change: dict[str, Any], said: str) -> None:
    found = full_metrics()
    revenue = found["health"]["calibration"]["revenue"] | change
    found["health"]["calibration"] = found["health"]["calibration"] | {"revenue": revenue}
    (trust,) = [one for one in run_sections(found, "") if "trusted" in one.title]
    assert said in trust.words[0]


def test_plans_and_logs_that_are_not_known() -> None:
    unknown = {
        "sample_ratio": {"counts": [1, 2], "planned": None, "p_value": None},
        "overlap": None,
        "balance": None,
    }
    (trust,) = [one for one in run_sections(full_metrics(**unknown), "") if "trusted" in one.title]
    (table,) = [one for one in trust.tables if "rests on" in one.title]
    assert table.rows[0] == ("none", "1")
    assert table.columns == ["treatment", "randomised rows"]
    assert "planned shares are not known" in table.note
