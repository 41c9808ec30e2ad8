"""The pages of the site: nothing public is missing from them, and every page is in the table."""

import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import dfl
from tests.conftest import ROOT

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def conf() -> ModuleType:
    spec = importlib.util.spec_from_file_location("conf", DOCS / "conf.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_name_has_an_entry(conf: ModuleType) -> None:
    shown = set(
        re.findall(r"^\.\. [\w:]+:: dfl\.\w+\.(\w+)$", "\n".join(conf.api_pages().values()), re.M)
    )
    package = Path(dfl.__file__).parent
    families = [path.parent.name for path in package.glob("*/__init__.py")]
    for family in sorted({*families} - {"cli", "configs"}):
        public = importlib.import_module(f"dfl.{family}").__all__
        assert not {*public} - shown, family
    assert not {*dfl.__all__} - shown - {"__version__"}


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = set(re.findall(r"^(\w+)$", (DOCS / "index.md").read_text(encoding="utf-8"), re.M))
    assert {path.stem for path in DOCS.glob("*.md")} - {"index"} <= listed


def test_what_docstrings_mean_literally_is_escaped(conf: ModuleType) -> None:
    lines = ["|x| <= rtol * |y| and ``|z| * 2``"]
    conf._literal(None, "class", "", None, {}, lines)
    assert lines == [r"\|x\| <= rtol \* \|y\| and ``|z| * 2``"]
