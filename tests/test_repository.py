"""The files by which a repository is cited and written to."""

import pytest
import yaml

import dfl
from tests.conftest import ROOT

TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def test_the_citation_is_of_this_version() -> None:
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert found["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "version", "license"} <= found.keys()
    assert found["version"] == dfl.__version__
    assert found["license"] == "MIT"


@pytest.mark.skipif(
    not (TEMPLATES or (ROOT / ".git").exists()),
    reason="unpacked from an archive, which holds no templates",
)
def test_templates_of_issues_ask_for_something() -> None:
    forms = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in TEMPLATES]
    bodies = [form["body"] for form in forms if "body" in form]
    assert len(bodies) == 2
    assert all(
        any(one["validations"]["required"] for one in body if "validations" in one)
        for body in bodies
    )
    assert "dfl doctor" in str(bodies)
