"""The package that the page on extending shows, installed and found by its entry points."""

import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import dfl
from dfl import Budget
from dfl.cli.families import Family
from dfl.errors import UnsupportedProblemError
from dfl.problem import AllocationProblem
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


@pytest.fixture
def acme(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The page's package, imported."""
    monkeypatch.syspath_prepend(site)
    yield importlib.import_module("acme_dfl")
    del sys.modules["acme_dfl"]


def people() -> tuple[Tensor, Tensor, Tensor]:
    """Revenue, cost, and what is allowed: not the cheapest treatment."""
    generator = torch.Generator().manual_seed(0)
    revenue, cost = torch.rand(2, 6, 3, generator=generator).cumsum(dim=-1)
    return revenue, cost, torch.tensor([False, True, True]).expand(6, 3)


def test_the_solver_keeps_masks_and_refuses_several_budgets(acme: Any) -> None:
    revenue, cost, allowed = people()
    budget = float(cost[:, 1].sum()) * 1.02
    masked = AllocationProblem(revenue, cost, budget, allowed=allowed)
    pinned = AllocationProblem(revenue, cost, budget, pinned=torch.ones(6, dtype=torch.int64))
    for problem in (masked, pinned):
        found = acme.Thrifty().solve(problem)
        assert bool((found.choice > 0).all())
        assert float(found.cost) <= budget
    several = AllocationProblem(revenue, cost[..., None].expand(6, 3, 2), torch.full((2,), budget))
    with pytest.raises(UnsupportedProblemError, match="takes one budget"):
        acme.Thrifty().solve(several)


def test_the_layer_gives_nothing_that_is_not_allowed(acme: Any) -> None:
    revenue, cost, allowed = people()
    layer, budget = acme.Exploring(epsilon=0.2), Budget(share=0.5)
    shares = layer(revenue, cost, budget, None, allowed).shares
    assert bool((shares[:, 0] == 0).all())
    assert bool((shares[:, 1:] >= 0.1 - 1e-6).all())
    assert_close(shares.sum(dim=1), torch.ones(6))
    assert bool((layer(revenue, cost, budget).shares >= 0.2 / 3 - 1e-6).all())


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
