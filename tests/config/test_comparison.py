from typing import Any

import pytest

from dfl.config import Comparison, read_comparison
from dfl.errors import ConfigError
from dfl.methods import METHODS
from tests.pipeline.tiny import tiny_study


def comparison(*methods: Any, **changes: Any) -> Comparison:
    studies = tuple(
        tiny_study(method) if method in METHODS else tiny_study(name=method) for method in methods
    )
    return Comparison(**{"studies": studies, "seeds": 1, "baseline": "tsm-sl", **changes})


def test_a_comparison_survives_its_configuration() -> None:
    made = comparison("tsm-sl", "dfcl", seeds=3, baseline="dfcl")
    again = read_comparison(made.config)
    assert again.config == made.config
    assert (again.seeds, again.baseline) == (3, "dfcl")


@pytest.mark.parametrize(
    ("methods", "changes", "message"),
    [
        (["tsm-sl"], {}, r"needs at least two methods, got \['tsm-sl'\]"),
        ([], {}, "needs at least two methods, got none"),
        (["tsm-sl", "tsm-sl"], {}, "each method may come once"),
        (["tsm-sl", "TSM-SL"], {}, "each method may come once"),
        (["tsm-sl", "report.html"], {}, "cannot be called 'report.html': a file of the comparison"),
        (["tsm-sl", "Plots"], {}, "cannot be called 'Plots'"),
        (["tsm-sl", "dfcl"], {"seeds": 0}, "seeds must be >= 1, got 0"),
        (["tsm-sl", "dfcl"], {"baseline": "dcfl"}, r"baseline: 'dcfl' .*Did you mean 'dfcl'\?"),
    ],
)
def test_comparisons_that_make_no_sense(
    methods: list[str], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        comparison(*methods, **changes)


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("seed", 4),
        ("budgets", [{"share": 0.4}]),
        ("evaluation", {"draws": 7}),
        ("data", {"name": "coupon", "noise": 0.5}),
    ],
)
def test_rows_and_budgets_must_be_the_same(section: str, value: object) -> None:
    studies = (tiny_study("tsm-sl"), tiny_study("dfcl", **{section: value}))
    with pytest.raises(ConfigError, match=f"same rows and budgets, but dfcl has {section} "):
        comparison(studies=studies)


def test_an_unknown_section() -> None:
    config = comparison("tsm-sl", "dfcl").config
    with pytest.raises(ConfigError, match=r"'seedz' is not among the sections of a comparison"):
        read_comparison({**config, "seedz": 3})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"runs": 3}, "runs must be a list of configurations, got 3"),
        ({"runs": ["tsm-sl"]}, r"runs must be a list of configurations, got \['tsm-sl'\]"),
        ({"seeds": "two"}, "needs seeds, a whole number, and baseline, a name; got 'two'"),
        ({"baseline": None}, "and baseline, a name; got 1 and None"),
    ],
)
def test_sections_of_the_wrong_kind(changed: dict[str, Any], message: str) -> None:
    config = comparison("tsm-sl", "dfcl").config
    with pytest.raises(ConfigError, match=message):
        read_comparison({**config, **changed})
