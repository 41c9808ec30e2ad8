"""The pages of the site: nothing is missing from them, and what they say of figures is there."""

import ast
import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import dfl
from benchmarks.result_tables import drawn
from dfl.methods import METHODS
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


@pytest.fixture(scope="module")
def shown(conf: ModuleType) -> set[str]:
    """Names that have an entry on an API page."""
    text = "\n".join(conf.api_pages().values())
    return set(re.findall(r"^\.\. [\w:]+:: dfl\.[\w.]+\.(\w+)$", text, re.M))


def test_every_public_name_has_an_entry(shown: set[str]) -> None:
    package = Path(dfl.__file__).parent
    families = [path.parent.name for path in package.glob("*/__init__.py")]
    for family in sorted({*families} - {"cli", "configs"}):
        public = importlib.import_module(f"dfl.{family}").__all__
        assert not {*public} - shown, family
    assert not {*dfl.__all__} - shown - {"__version__"}


def test_every_name_that_a_page_imports_has_an_entry(shown: set[str]) -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in own_pages())
    parsed = [ast.parse(one) for one in re.findall(r"```python\n(.*?)```", text, re.S)]
    nodes = [node for tree in parsed for node in ast.walk(tree)]
    imports = [one for one in nodes if isinstance(one, ast.ImportFrom)]
    ours = {
        one.name
        for each in imports
        if str(each.module).startswith("dfl") and each.module != "dfl.cli"
        for one in each.names
    }
    assert len(ours) > 50
    assert not ours - shown


def own_pages() -> list[Path]:
    """Every page that is written by hand: none of those made by ``make docs``, no template."""
    made = {DOCS / "api", DOCS / "pictures", DOCS / "template"}
    return [page for page in sorted(DOCS.rglob("*.md")) if not made & {*page.parents}]


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = set(re.findall(r"^([\w/]+)$", (DOCS / "index.md").read_text(encoding="utf-8"), re.M))
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in own_pages()}
    assert pages - {"index"} <= listed


def headings(page: Path) -> set[str]:
    """Anchors of a page, as the site makes them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in found}


@pytest.mark.parametrize("page", [*own_pages(), ROOT / "README.md"], ids=lambda page: page.stem)
def test_links_of_a_page_lead_to_a_file_and_a_heading(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not link.startswith("https://"):
            file, _, anchor = link.partition("#")
            target = page.parent / file if file else page
            assert target.exists(), link
            assert not anchor or anchor in headings(target), link


METHOD_PAGES = sorted((DOCS / "methods").glob("*.md"))


def sections() -> dict[str, str]:
    """Heading to text of what the pages of methods say."""
    parts = [
        re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.M) for page in METHOD_PAGES
    ]
    return dict(part.split("\n", 1) for page in parts for part in page[1:])


def test_every_method_has_a_section_that_says_what_matters() -> None:
    told = sections()
    assert sorted(re.findall(r"`([\w-]+)`", " ".join(told))) == sorted(METHODS)
    for heading, text in told.items():
        names = ", ".join(re.findall(r"`([\w-]+)`", heading))
        for word in ("imises**", "**Cost**", "**Assumes**", "**Fails**", "**Source**"):
            assert word in text, f"{heading}: {word}"
        (cost,) = re.findall(rf"<!-- times: {names} -->(.*?)<!-- end -->", text, re.S)
        assert re.findall(r"`([\w-]+)` \d+\.\d", cost) == names.split(", "), heading


def figures(text: str) -> set[str]:
    """Numbers with an error, however their zero and sign are written."""
    return {
        re.sub(r"(?<!\d)0(?=\.)", "", one).lstrip("+-")
        for one in re.findall(r"[+-]?\d*\.\d+ ± \d*\.\d+", text)
    }


@pytest.mark.parametrize("page", [DOCS / "choosing.md", *METHOD_PAGES], ids=lambda page: page.stem)
def test_a_figure_with_an_error_stands_on_a_page_that_is_linked_beside_it(page: Path) -> None:
    for block in re.split(r"\n\n|\n(?=\|)", page.read_text(encoding="utf-8")):
        links = re.findall(r"\]\(([\w./]+\.md)\)", block)
        told = "".join((page.parent / link).read_text(encoding="utf-8") for link in links)
        assert figures(block) <= figures(told), block


def test_tables_of_studies_are_those_of_the_committed_rows() -> None:
    for path, told, wanted in drawn():
        assert told == wanted, f"{path}: python -m benchmarks.result_tables draws its tables anew"


def test_what_docstrings_mean_literally_is_escaped(conf: ModuleType) -> None:
    lines = ["|x| <= rtol * |y| and ``|z| * 2``"]
    conf._literal(None, "class", "", None, {}, lines)
    assert lines == [r"\|x\| <= rtol \* \|y\| and ``|z| * 2``"]
