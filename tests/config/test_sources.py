from pathlib import Path

import pytest

from dfl.config import change, choose_data, choose_part, load_config
from dfl.errors import ConfigError, DataNotFoundError


def test_a_shipped_configuration_by_its_name() -> None:
    config = load_config("tsm-sl-rct")
    assert config["name"] == "tsm-sl-rct"
    assert config["method"] == {"name": "tsm-sl", "rows": "rct"}


def test_a_method_that_ships_no_file() -> None:
    assert load_config("dfcl") == {"name": "dfcl", "method": "dfcl"}


def test_a_file_is_called_by_its_stem_unless_it_says_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("method: tsm-sl\n")
    assert load_config(str(path))["name"] == "mine"
    path.write_text("method: tsm-sl\nname: other\n")
    assert load_config(str(path))["name"] == "other"


def test_unknown_sources(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'bi-dfcl'\? Known: .* ends in .yaml"):
        load_config("bi-dfc")
    with pytest.raises(DataNotFoundError, match="no configuration file at"):
        load_config(str(tmp_path / "x.yaml"))
    with pytest.raises(DataNotFoundError, match="no configuration file at"):
        load_config("folder/name")


def test_settings_reach_into_sections() -> None:
    config = {"layer": "softmax", "training": {"epochs": 1, "members": 2}}
    settings = ["training.epochs=3", "layer.temperature=1e-2", "data.sizes.rct=5", "seed=4"]
    assert change(config, settings) == {
        "layer": {"name": "softmax", "temperature": 0.01},
        "training": {"epochs": 3, "members": 2},
        "data": {"sizes": {"rct": 5}},
        "seed": 4,
    }
    assert config == {"layer": "softmax", "training": {"epochs": 1, "members": 2}}


def test_settings_are_yaml() -> None:
    assert change({}, ["budgets=[{share: 0.2}]", "a.b=null", "c=x=y"]) == {
        "budgets": [{"share": 0.2}],
        "a": {"b": None},
        "c": "x=y",
    }


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.epochs", "--set takes section.option=value, got 'training.epochs'"),
        ("=3", "--set takes section.option=value"),
        ("a..b=3", "--set takes section.option=value"),
        ("seed.x=3", "--set seed.x: seed must be a name or options, got 1"),
        ("a=[1", "--set a is not valid YAML"),
    ],
)
def test_malformed_settings(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        change({"seed": 1}, [setting])


def test_a_setting_that_comes_twice() -> None:
    with pytest.raises(ConfigError, match=r"--set a\.b is given twice; leave one out"):
        change({}, ["a.b=1", "a.c=1", "a.b=2"])


def test_choosing_a_part_keeps_the_options_of_the_same_part_alone() -> None:
    config = {"layer": {"name": "softmax", "temperature": 1.0}}
    assert choose_part(config, "layer", "softmax") == config
    assert choose_part(config, "layer", "other") == {"layer": {"name": "other"}}
    assert choose_part({}, "layer", "other") == {"layer": {"name": "other"}}


def test_another_loss_comes_with_its_own_layer() -> None:
    config = {"loss": "primal-policy", "layer": {"name": "softmax", "temperature": 0.5}}
    assert choose_part(config, "loss", "primal-policy") == config | {
        "loss": {"name": "primal-policy"}
    }
    assert choose_part(config, "loss", "other") == {"loss": {"name": "other"}}


@pytest.mark.parametrize(
    ("given", "section"),
    [
        ("hillstrom", {"name": "hillstrom"}),
        ("x/y.parquet", {"path": "x/y.parquet"}),
        ("y.csv.gz", {"path": "y.csv.gz"}),
    ],
)
def test_choosing_data(given: str, section: dict[str, str]) -> None:
    assert choose_data({"data": "coupon"}, given) == {"data": section}
