"""The house: a family's top level shows its members, and following one opens few files."""

import ast
import importlib
from functools import cache
from pathlib import Path

import pytest

import dfl
from dfl.registry import Registry

PACKAGE = Path(dfl.__file__).parent

# Family and its table; what else may stand at its top level, and why.
FAMILIES = {
    "abtest": "ESTIMATORS",
    "hypergrad": "HYPERGRADIENTS",
    "layers": "LAYERS",
    "losses": "LOSSES",
    "methods": "METHODS",
    "solvers": "SOLVERS",
}
BESIDE = {
    "hypergrad": {"implicit", "bilevel"},  # the base of most members; the driver that uses them
    "losses": {"prediction", "ranking"},  # other kinds of loss, which are no members of the table
}
DATA = {"encoder", "hybrid", "split", "uplift_data"}  # the nouns; what makes them has a room
# Metrics have no table: a file each, and the public functions or classes that it holds.
METRICS = {
    "aucc": {"CostCurve", "aucc", "cost_curve", "mt_aucc", "true_aucc"},
    "constant_mix": {"best_constant_mix"},
    "eom": {"ExpectedOutcome", "eom_curve", "expected_outcome"},
    "gain_curve": {"GainCurve", "budget_needed", "gain_curve", "integrated_difference"},
    "qini": {"Qini", "normalised_qini", "qini"},
    "random_allocation": {"random_allocation"},
    "rate": {"Rate", "rate"},
    "roi_score": {"roi_score"},
    "spend_curve": {"CurvePoint", "SpendCurve", "observed_curve", "true_curve"},
    "truth": {
        "TrueOutcome",
        "TruePolicyValue",
        "TrueScale",
        "check_not_above_oracle",
        "true_policy_value",
    },
}

# Most files of its own family that one may have to open to follow a member.
AT_MOST = {"layers.softmax": 7, "hypergrad.neumann": 8, "abtest.state": 9, "metrics.eom": 6}


def table(family: str) -> Registry[object]:
    found = getattr(importlib.import_module(f"dfl.{family}"), FAMILIES[family])
    assert isinstance(found, Registry)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_the_top_level_of_a_family_is_its_base_and_its_members(family: str) -> None:
    targets = {table(family).entry(name).target for name in table(family)}
    members = {target.split(":")[0].removeprefix(f"dfl.{family}.") for target in targets}
    assert not {name for name in members if "." in name}, "a member stands below its family"
    files = {path.stem for path in (PACKAGE / family).glob("*.py")}
    assert files == {"__init__", "base"} | members | BESIDE.get(family, set())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_member_can_be_imported_from_its_family(family: str) -> None:
    package = importlib.import_module(f"dfl.{family}")
    for name in table(family):
        cls = table(family).load(name)
        assert getattr(package, cls.__name__) is cls
        assert cls.__name__ in package.__all__


def test_the_top_level_of_data_is_its_nouns() -> None:
    assert {path.stem for path in (PACKAGE / "data").glob("*.py")} == {"__init__"} | DATA


def test_the_top_level_of_metrics_is_its_metrics() -> None:
    assert {path.stem for path in (PACKAGE / "metrics").glob("*.py")} == {"__init__"} | set(METRICS)


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_can_be_imported_from_its_family(metric: str) -> None:
    package = importlib.import_module("dfl.metrics")
    module = importlib.import_module(f"dfl.metrics.{metric}")
    assert METRICS[metric] == set(module.__all__) & set(package.__all__)
    assert all(getattr(package, name) is getattr(module, name) for name in METRICS[metric])


@cache
def needs(module: str) -> frozenset[str]:
    """Modules of its own family that a module imports."""
    family = ".".join(module.split(".")[:2])
    path = PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
    path = path if path.exists() else path.with_suffix("") / "__init__.py"
    named = {
        node.module
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module
    }
    return frozenset(name for name in named if name.startswith(f"{family}."))


def followed(module: str) -> set[str]:
    seen: set[str] = set()
    ahead = {module}
    while ahead:
        seen |= ahead
        ahead = {name for one in ahead for name in needs(one)} - seen
    return seen


@pytest.mark.parametrize("member", AT_MOST)
def test_following_a_member_opens_few_files(member: str) -> None:
    opened = followed(f"dfl.{member}")
    assert len(opened) <= AT_MOST[member], sorted(opened)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_at_hand_after_importing_dfl(family: str) -> None:
    assert getattr(dfl, family) is importlib.import_module(f"dfl.{family}")
    assert family in dir(dfl)
