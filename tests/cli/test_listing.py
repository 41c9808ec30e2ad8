import subprocess
import sys

import pytest

from dfl.abtest import ESTIMATORS
from dfl.config import suite_names, suite_summary
from dfl.data import DATASETS
from dfl.hypergrad import HYPERGRADIENTS
from dfl.layers import LAYERS
from dfl.losses import LOSSES
from dfl.methods import METHODS
from dfl.registry import Entry, Registry
from dfl.solvers import SOLVERS
from tests.cli.outcome import Dfl

FAMILIES = {
    "solvers": SOLVERS,
    "layers": LAYERS,
    "hypergrad": HYPERGRADIENTS,
    "losses": LOSSES,
    "methods": METHODS,
    "data": DATASETS,
    "abtest": ESTIMATORS,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_name_is_listed_with_what_it_is(dfl: Dfl, family: str) -> None:
    registry: Registry[object] = FAMILIES[family]  # type: ignore[assignment]  # of any family
    done = dfl("list", family)
    assert done.code == 0, done.text
    for name in registry.names():
        assert name in done.text
        assert (registry.load(name).__doc__ or "").split(".")[0].split()[0] in done.text


def test_suites_are_listed_with_what_they_are(dfl: Dfl) -> None:
    done = dfl("list", "suites")
    assert done.code == 0, done.text
    for name in suite_names():
        assert name in done.text
        assert suite_summary(name)[:40] in done.text
        assert name in dfl("list").text


def test_a_name_that_needs_a_package_says_which(dfl: Dfl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SOLVERS, "_entries", dict(SOLVERS._all()))
    SOLVERS.register("far", Entry("package_that_is_not_there:Far", extra="far"))
    assert "pip install 'dfl-toolkit[far]'" in dfl("list", "solvers").text


def test_a_family_that_is_none(dfl: Dfl) -> None:
    done = dfl("list", "sovlers")
    assert done.code == 2
    assert "'sovlers'" in done.text


def test_methods_come_with_the_configurations_that_ship(dfl: Dfl) -> None:
    text = dfl("list", "methods").text
    assert "dfcl-ppl" in text
    assert "training on the value of the softened allocation" in text


def test_without_a_family_all_are_shown(dfl: Dfl) -> None:
    done = dfl("list")
    assert done.code == 0, done.text
    for family, registry in FAMILIES.items():
        assert f"{family} │ {len(registry)} │" in done.text  # type: ignore[arg-type]  # any family
    for name in ("greedy-dual", "softmax", "bi-dfcl", "hillstrom"):
        assert name in done.text


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("tests.cli.undescribed:Silent", "(no description: its class has no docstring)"),
        ("tests.cli.undescribed:Record", "(no description: its class has no docstring)"),
        ("tests.cli.undescribed:nothing", "(tests.cli.undescribed:nothing) cannot be loaded:"),
        ("tests.cli.not_there:Far", "'new' of solvers needs the package 'tests.cli.not_there'"),
    ],
)
def test_a_part_without_a_description_is_listed_as_such(
    dfl: Dfl, target: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SOLVERS, "_entries", dict(SOLVERS._all()))
    SOLVERS.register("new", target)
    done = dfl("list", "solvers")
    assert done.code == 0, done.text
    assert said in done.text


def test_listing_imports_no_member_for_its_description() -> None:
    code = (
        "import sys\nfrom dfl.cli import main\nsys.argv = ['dfl', 'list', 'solvers']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted(one for one in sys.modules if one in ('scipy', 'dfl.solvers.dual_ascent')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "dual-ascent" in done.stdout
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_presets_are_shown_by_what_differs_from_defaults(dfl: Dfl) -> None:
    text = " ".join(dfl("list", "losses").text.replace("│", " ").split())
    assert "With layer=FiniteDifference(price=Price(multiplier=0.0))." in text
    assert "met_by" not in text
