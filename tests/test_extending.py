"""The package that the page on extending shows, installed and found by its entry points."""

import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dfl
from dfl.cli.families import Family
from dfl.registry import Registry
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
PACKAGE, _, USE = PAGE.partition("## Use them")


def points() -> dict[str, dict[str, str]]:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
    found: dict[str, dict[str, str]] = tomllib.loads(text)["project"]["entry-points"]
    return found


def tables() -> list[Registry[object]]:
    modules = ("abtest", "data", "hypergrad", "layers", "losses", "methods", "models", "solvers")
    found = [vars(importlib.import_module(f"dfl.{name}")).values() for name in modules]
    return [one for values in found for one in values if isinstance(one, Registry)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages that holds the page's."""
    folder = tmp_path_factory.mktemp("site")
    snippets = re.findall(r"```python\n(.*?)```", PACKAGE, flags=re.DOTALL)
    (folder / "acme_dfl.py").write_text("\n".join(snippets), encoding="utf-8")
    about = folder / "acme_dfl-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-dfl\nVersion: 1.0\n")
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in names.items())
        for group, names in points().items()
    ]
    (about / "entry_points.txt").write_text("\n".join(lines))
    return folder


def dfl_command(site: Path, *arguments: str) -> str:
    paths = os.pathsep.join([str(site), str(Path(dfl.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-m", "dfl", *arguments],
        capture_output=True,
        text=True,
        cwd=site,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_names_every_extension_point() -> None:
    groups = {f"dfl.{table.family}" for table in tables()}
    assert groups == set(re.findall(r"\| `(dfl\.\w+)` \|$", PAGE, flags=re.MULTILINE))
    assert set(points()) == groups


def test_the_names_of_an_installed_package_are_listed_with_what_they_are(site: Path) -> None:
    shown = dfl_command(site, "list")
    for group, names in points().items():
        if group.removeprefix("dfl.") in set(Family):  # networks and models serve methods and files
            assert all(name in shown for name in names), group
    assert "Spends a share of the budget" in dfl_command(site, "list", "solvers")


TINY = ("--members", "1", "--epochs", "1", "--set", "training.min_steps=5")


@pytest.mark.parametrize(
    "config",
    [
        (
            "acme-on-trials",
            "--solver",
            "acme-thrifty",
            "--set",
            "network.name=acme-shortcut",
            *TINY,
        ),
        ("acme-by-arm",),
        ("bi-dfcl", "--loss", "acme-plain-revenue", "--layer", "acme-exploring", *TINY),
    ],
    ids=["network", "model", "loss"],
)
def test_they_run_by_name(site: Path, tmp_path: Path, config: tuple[str, ...]) -> None:
    target = str(tmp_path / "run")
    also = ("--hypergrad", "acme-half-way") if "bi-dfcl" in config else ()
    shown = dfl_command(site, "run", *config, *also, "--data", "acme-small-shop", "-o", target)
    assert "value within the budget" in shown
    assert "acme-" in (tmp_path / "run" / "config.yaml").read_text()
