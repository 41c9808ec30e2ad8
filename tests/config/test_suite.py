import re
from pathlib import Path
from typing import Any

import pytest

from dfl.config import load_suite, read_suite, suite_names, suite_summary, to_yaml
from dfl.config import suite as module
from dfl.errors import ConfigError, DataNotFoundError, MissingExtraError
from dfl.methods import Grounded, KdLabel
from tests.pipeline.tiny_suite import suite_config, tiny_suite


@pytest.mark.parametrize("name", suite_names())
def test_a_shipped_suite_is_read_and_written_back(name: str) -> None:
    suite = read_suite(load_suite(name))
    assert suite.name == name
    assert suite.reference in suite.methods
    assert len(suite.seeds) >= 3
    assert suite_summary(name).endswith(".")
    again = read_suite(suite.config)
    assert {k: v.config for k, v in again.studies.items()} == {
        k: v.config for k, v in suite.studies.items()
    }


def test_the_suites_are_there() -> None:
    expected = {
        "table2",
        "table3",
        "ablation",
        "rct-size",
        "sensitivity",
        "training-time",
        "worlds",
    }
    assert expected <= set(suite_names())


def test_sections_come_from_suite_data_and_method_in_that_order() -> None:
    suite = tiny_suite(
        data={
            "a": {"data": "coupon", "training": {"epochs": 7}, "budgets": [{"share": 0.5}]},
            "b": {"data": "coupon"},
        },
        methods={"kd": {"method": "kd-label", "training": {"members": 3}}, "tsm-sl": {}},
    )
    trainings = {
        cell: (study.config["training"]["epochs"], study.config["training"]["members"])
        for cell, study in suite.studies.items()
    }
    assert trainings == {
        ("a", "kd"): (7, 3),
        ("a", "tsm-sl"): (7, 1),
        ("b", "kd"): (1, 3),
        ("b", "tsm-sl"): (1, 1),
    }
    assert [len(suite.studies[one, "kd"].budgets) for one in ("a", "b")] == [1, 2]
    assert (suite.reference, suite.data, suite.methods) == ("kd", ("a", "b"), ("kd", "tsm-sl"))


def test_an_empty_entry_stands_for_the_data_or_method_of_that_name() -> None:
    suite = tiny_suite(data={"coupon": {}}, methods={"kd-label": None}, network={})
    study = suite.studies["coupon", "kd-label"]
    assert (study.data_name, type(study.method), study.name) == ("coupon", KdLabel, "kd-label")


def test_what_a_method_has_no_part_for_is_left_aside_unless_it_says_so_itself() -> None:
    suite = tiny_suite(layer="softmax")
    assert isinstance(suite.studies["coupon", "kd"].method, KdLabel)
    with pytest.raises(ConfigError, match="tsm-sl on coupon: tsm-sl has no layer"):
        tiny_suite(methods={"tsm-sl": {"layer": "softmax"}})


def test_only_some_methods_and_data_sets() -> None:
    assert tiny_suite(only=["kd"]).studies.keys() == {("coupon", "kd"), ("ads", "kd")}
    assert tiny_suite(only=["kd", "ads"]).studies.keys() == {("ads", "kd")}
    assert tiny_suite(only=["kd"]).reference == "tsm-sl"


def test_an_optional_method_without_its_package_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = module.read_study

    def missing(config: Any, **options: Any) -> Any:
        if config["method"] == "grounded":
            raise MissingExtraError("needs the extra x")
        return read(config, **options)

    monkeypatch.setattr(module, "read_study", missing)
    methods: dict[str, Any] = {"tsm-sl": {}, "grounded": {"optional": True}}
    suite = tiny_suite(methods=methods)
    assert suite.methods == ("tsm-sl",)
    assert suite.left_out == ("grounded is left out: needs the extra x",)
    with pytest.raises(MissingExtraError):
        tiny_suite(methods={"grounded": {}})
    with pytest.raises(ConfigError, match=r"nothing is left of the suite\. grounded is left out"):
        tiny_suite(methods={"grounded": {"optional": True}})
    monkeypatch.undo()
    assert isinstance(
        tiny_suite(methods=methods, training={}).studies["coupon", "grounded"].method, Grounded
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metods": {}}, "'metods' is not among the sections of a suite. Did you mean 'methods'?"),
        ({"methods": {}}, "methods of a suite must map labels to sections, such as 'methods: {tsm"),
        ({"data": ["coupon"]}, "data of a suite must map labels to sections"),
        ({"methods": {"tsm-sl": "x"}}, "methods.tsm-sl must hold sections, or {}, got 'x'"),
        ({"methods": {3: {}}}, "methods: a label must be a word, got 3; put it in quotes"),
        ({"methods": {"tsm-sl": {"evaluation": {}}}}, "methods.tsm-sl: 'evaluation' is not among"),
        ({"methods": {"a/b": {"method": "tsm-sl"}}}, "letters that can name a folder"),
        ({"data": {"..": {"data": "coupon"}}}, "letters that can name a folder"),
        (
            {"methods": {"a": {"method": "tsm-sl"}, "A": {"method": "tsm-sl"}}},
            "labels of methods must differ in more than capitals",
        ),
        ({"methods": {"tsm": {}}}, "tsm on coupon: method: 'tsm' is not among the methods"),
        ({"reference": "kdd"}, "reference: 'kdd' is not among the methods. Did you mean 'kd'?"),
        ({"only": ["kdd"]}, "only: 'kdd' is not among the methods and data sets"),
        ({"paper": {"AUCC": {"x": "1"}}}, "paper.AUCC: 'x' is not among the methods"),
        ({"paper": {"AUCC": {"kd": 1}}}, "paper.AUCC.kd: Input should be a valid string, got 1"),
        ({"seeds": 0}, "seeds: Input should be greater than or equal to 1, got 0"),
        ({"first_seed": -1}, "first_seed: Input should be greater than or equal to 0"),
        ({"seeds_at_once": 1.5}, "seeds_at_once: Input should be a valid integer"),
        (
            {"data": {"coupon": {"seeds_at_once": 0}}},
            "data.coupon.seeds_at_once: Input should be greater than or equal to 1, got 0",
        ),
    ],
)
def test_mistakes_are_said(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        tiny_suite(**changes)


def test_a_suite_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    config = suite_config()
    del config["name"]
    path.write_text(to_yaml(config))
    assert read_suite(load_suite(str(path))).name == "mine"
    with pytest.raises(DataNotFoundError, match="no configuration file at"):
        load_suite("nowhere.yaml")
    with pytest.raises(ConfigError, match="'table1' is not among the suites"):
        load_suite("table1")
