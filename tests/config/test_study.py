from pathlib import Path
from typing import Any

import pytest

from dfl.budget import Budget
from dfl.config import from_yaml, load_config, read_solver, read_study, shipped_names, to_yaml
from dfl.data import CouponSimulator
from dfl.errors import ConfigError, DataNotFoundError
from dfl.losses import LOSSES
from dfl.methods import METHODS
from dfl.solvers import DualBisection, GreedyDual
from dfl.training.decision_level import BUDGETS
from tests.pipeline.tiny import tiny_config, tiny_study


@pytest.mark.parametrize("name", sorted({*shipped_names(), *METHODS.names()}))
def test_what_ships_fits_and_survives_yaml(name: str) -> None:
    study = read_study(load_config(name))
    study.check()
    again = read_study(from_yaml(to_yaml(study.config), "config.yaml"))
    assert again.config == study.config
    assert study.name == name


def test_these_configurations_ship() -> None:
    assert set(shipped_names()) >= {
        "bi-dfcl",
        "dfcl-ppl",
        "grounded",
        "kd-label",
        "tsm-sl",
        "tsm-sl-obs",
        "tsm-sl-rct",
    }


def test_what_is_not_said_is_filled_in() -> None:
    study = read_study({"method": "tsm-sl"})
    assert study.name == "tsm-sl"
    assert isinstance(study.data, CouponSimulator)
    assert isinstance(study.solver, GreedyDual)
    assert (study.seed, study.device) == (0, "cpu")
    assert study.budgets[0] == Budget(share=0.3)


def test_a_method_trains_for_its_own_budgets_wherever_it_is_evaluated() -> None:
    given = {"method": "dfcl", "budgets": [{"per_head": 2}, {"share": 0.5}]}
    assert read_study(given).budgets == (Budget(per_head=2.0), Budget(share=0.5))
    assert read_study(given).method.budgets == BUDGETS  # type: ignore[attr-defined]
    given["method"] = {"name": "dfcl", "budgets": [{"per_head": 3}]}
    assert read_study(given).method.budgets == (Budget(per_head=3.0),)  # type: ignore[attr-defined]


def test_a_method_that_trains_for_no_budget_is_still_evaluated_at_them() -> None:
    assert tiny_study("tsm-sl", budgets=[{"share": 0.2}]).budgets == (Budget(share=0.2),)


def test_sections_say_where_they_went() -> None:
    taken = read_study(load_config("bi-dfcl")).taken
    assert taken["layer"] == ("method.loss.layer",)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"budget": []}, r"'budget' is not among the sections. Did you mean 'budgets'\? Known: "),
        (
            {"hypergrad": "neumann"},
            "tsm-sl has no hypergrad, or is given one inside; remove the section",
        ),
        (
            {"method": {"name": "tsm-sl", "network": {}}, "network": {}},
            "tsm-sl has no network, or is given one inside; remove the section",
        ),
        ({"layer": "softmax"}, "tsm-sl has no layer, or is given one inside; remove the section"),
        ({"data": "cuopon"}, r"data: 'cuopon' is not among the data. Did you mean 'coupon'\?"),
        ({"data": {"name": "coupon", "noise": 3}}, r"data: noise must be in \[0, 1\]"),
        ({"data": {"name": "coupon", "nois": 3}}, r"data: 'nois' .*Did you mean 'noise'\?"),
        ({"solver": "greedy"}, r"solver: 'greedy' is not among the solvers. Did you mean 'greedy-"),
        ({"evaluation": {"draw": 3}}, r"'draw' is not among the .*Did you mean 'draws'\?"),
        ({"evaluation": {"draws": 1}}, "evaluation: draws must be >= 2, got 1"),
        ({"evaluation": {"level": 95}}, r"evaluation: level must be in \(0, 1\), got 95"),
        (
            {"data": {"path": "x.csv", "treatment": "t", "features": []}},
            r"data\.features must name",
        ),
        ({"name": "../up"}, r"name must be 1 to 100 letters that can name a folder.*got '../up'"),
        ({"name": "a/b"}, r"none of / .*got 'a/b'"),
        ({"name": ""}, "name must be 1 to 100 letters .*got ''"),
        ({"name": "a."}, "no '.' at either end.*got 'a.'"),
        ({"name": "a\n"}, "no control character"),
        ({"name": "a" * 101}, "name must be 1 to 100 letters"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0, got -1"),
        ({"seed": 2**63}, "seed: Input should be less than 9223372036854775808"),
        ({"seed": "1"}, "seed: Input should be a valid integer, got '1'"),
        ({"device": 0}, "device: Input should be a valid string, got 0"),
        ({"budgets": []}, "budgets must be a list such as"),
        ({"budgets": {"share": 0.3}}, "budgets must be a list such as"),
        ({"budgets": [{"share": 0.3, "per_head": 1}]}, r"budgets\[0\]: .*exactly one of"),
        ({"budgets": [{"shares": 0.3}]}, r"budgets\[0\]: 'shares' .*Did you mean 'share'\?"),
        ({"budgets": [{"total": 10}]}, "per_head or share, got a total: .*'dfl allocate'"),
        (
            {"budgets": [{"share": 0.3}, {"per_head": 0.3}, {"share": 0.3}]},
            "budgets must differ in their first six digits, got share=0.3 more than once",
        ),
        (
            {"budgets": [{"per_head": 5000044}, {"per_head": 5000036}]},
            r"got per_head=5.00004e\+06 more than once; leave the others out",
        ),
        ({"training": {"epochs": 2.5}}, "method.training.epochs: .*valid integer, got 2.5"),
    ],
)
def test_mistakes_name_their_section(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_study(**sections)


def test_a_configuration_needs_a_method() -> None:
    with pytest.raises(ConfigError, match="needs a method, such as 'method: tsm-sl'"):
        read_study({"data": "coupon"})


def test_a_file_without_a_name_is_known_by_its_roles(tmp_path: Path) -> None:
    roles = {"path": str(tmp_path / "shop.parquet"), "treatment": "t", "revenue": "r", "cost": "c"}
    study = tiny_study(data=roles)
    assert study.config["data"]["name"] == "columns"
    assert study.data_name == "shop"


def test_a_file_without_roles_is_looked_at(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="no data file"):
        tiny_study(data={"path": str(tmp_path / "shop.parquet")})


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="device 'abacus' cannot be used: Expected one of"):
        tiny_study(device="abacus").check()


def test_parts_that_do_not_fit_are_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LOSSES, "_entries", dict(LOSSES._all()))
    LOSSES.register("vector", "tests.config.parts:Vector")
    study = tiny_study("dfcl", loss="vector")
    with pytest.raises(ConfigError, match=r"method.loss does not fit \(values decisions .*shape"):
        study.check()


def test_a_solver_alone() -> None:
    assert isinstance(read_solver("dual-bisection"), DualBisection)
    with pytest.raises(ConfigError, match="solver: 'x' is not among the solvers"):
        read_solver("x")


def test_a_resolved_configuration_can_be_changed_like_any_other() -> None:
    config = tiny_study("bi-dfcl").config
    changed = read_study({**config, "training": {**config["training"], "epochs": 9}})
    assert changed.method.training.epochs == 9
    assert tiny_config("bi-dfcl")["training"]["epochs"] != 9
