"""The package that docs/template makes: baked, built, installed, and run by name elsewhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter

import dfl
from tests.conftest import ROOT

TINY = ("--data", "coupon", "--members", "1", "--epochs", "1", "--set", "training.min_steps=5")
SMALL = ("--set", "data.sizes={rct: 300, obs: 100, validation: 100, test: 300}")


@pytest.fixture(scope="module")
def baked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("baked")
    made = cookiecutter(
        str(ROOT / "docs" / "template"),
        no_input=True,
        output_dir=str(folder),
        extra_context={"project_name": "zest-dfl"},
        default_config=True,
    )
    return Path(made)


@pytest.fixture(scope="module")
def installed(baked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    options = [
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--quiet",
        "--target",
        str(target),
    ]
    run([sys.executable, "-m", "pip", "install", *options, str(baked)], baked.parent)
    assert (target / "zest_dfl" / "loss.py").exists()
    return target


def run(command: list[str], folder: Path, *paths: Path) -> str:
    """Run in a fresh process that sees dfl and the given folders of packages."""
    seen = os.pathsep.join(str(one) for one in (*paths, Path(dfl.__file__).parents[1]))
    environment = {**os.environ, "PYTHONPATH": seen, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_parts_run_by_name_in_a_fresh_process(installed: Path, tmp_path: Path) -> None:
    script = f"""
from dfl.cli import main
import sys
for command in (
    ["list", "losses"],
    ["run", "zest-robust-trials", *{TINY + SMALL!r}, "-o", "one"],
    ["run", "dfcl", "--loss", "zest-capped-revenue", *{TINY + SMALL!r}, "-o", "two"],
):
    sys.argv = ["dfl", *command]
    try:
        main()
    except SystemExit as end:
        assert not end.code, command
"""
    shown = run([sys.executable, "-c", script], tmp_path, installed)
    assert "zest-capped-revenue" in shown
    assert "zest-robust-trials: value within the budget" in " ".join(shown.split())
    for name, part in (("one", "zest-robust-trials"), ("two", "zest-capped-revenue")):
        assert part in (tmp_path / name / "config.yaml").read_text(encoding="utf-8")


def test_its_own_tests_pass(installed: Path, baked: Path) -> None:
    run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], baked, installed)


def test_nothing_of_the_template_is_left_unfilled(baked: Path) -> None:
    written = [path for path in baked.rglob("*") if path.suffix in {".py", ".toml", ".md"}]
    assert written
    assert not [path for path in written if "cookiecutter" in path.read_text(encoding="utf-8")]
