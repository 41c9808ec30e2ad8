"""Sphinx: the pages of this folder as they are, API pages made from docstrings, and the gallery.

``make docs`` builds them; ``api/`` is written anew each time, ``pictures/`` where a script changed.
"""

import importlib
import inspect
import re
from functools import cache
from pathlib import Path

import dfl
from dfl.registry import Registry

project = "dfl"
author = copyright = "dfl contributors"
version = release = dfl.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["template", "gallery"]  # a third party's package; what the pictures are made of
html_theme = "pydata_sphinx_theme"
html_theme_options = {"show_prev_next": False, "secondary_sidebar_items": ["page-toc"]}
html_show_sourcelink = False
myst_heading_anchors = 3
# Links to files of the repository beside this folder; tests check that every link leads somewhere.
suppress_warnings = ["myst.xref_missing"]

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "pictures",
    "filename_pattern": "/plot_",
    "show_memory": False,
    "show_signature": False,
    "download_all_examples": False,
    "min_reported_time": 5,  # seconds: what a picture may take
}

autodoc_default_options = {
    "members": True,
    "exclude-members": "set_fit_request,set_score_request",  # scikit-learn's own, made at import
}
autodoc_typehints = "none"  # the signature and the docstring say them
autodoc_preserve_defaults = True
napoleon_custom_sections = [("Source", "notes_style"), ("Shapes", "notes_style")]

_HERE = Path(__file__).parent
_PACKAGE = Path(dfl.__file__).parent
_INSIDE = ("__init__", "__main__", "cli")  # dfl.cli is described by its --help


def api_pages() -> dict[str, str]:
    """Return the API page of every family and service, by module: all that it names as public.

    What a family passes on from another is described there alone. What else a page imports from a
    room of the family follows behind it.
    """
    files = (*_PACKAGE.glob("*.py"), *(path.parent for path in _PACKAGE.glob("*/__init__.py")))
    names = sorted(f"dfl.{path.stem}" for path in files if path.stem not in _INSIDE)
    pages = {name: _page(name) for name in names}
    return {name: page for name, page in pages.items() if page}


def _page(name: str) -> str:
    module = importlib.import_module(name)
    own = [one for one in module.__all__ if _own(name, one, getattr(module, one))]
    entries = [_entry(name, one, getattr(module, one)) for one in own]
    for room in sorted(one for one in _shown_rooms() if one.startswith(f"{name}.")):
        inside = importlib.import_module(room)
        rest = [one for one in inside.__all__ if one not in module.__all__]
        entries += [_entry(room, one, getattr(inside, one)) for one in rest]
    if not entries:
        return ""
    title = f"`{name}`"
    about = inspect.getdoc(module) or ""
    body = "\n\n".join(entries)
    return f"# {title}\n\n{about}\n\n```{{eval-rst}}\n{body}\n```\n"


@cache
def _shown_rooms() -> set[str]:
    """Return the modules below a family that snippets of the pages import from."""
    pages = (*_HERE.glob("*.md"), *_HERE.glob("tutorials/*.md"), _HERE.parent / "README.md")
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    return set(re.findall(r"^\s*from (dfl\.\w+\.[\w.]+) import", text, re.MULTILINE))


def _own(module: str, name: str, value: object) -> bool:
    """Say whether a name is described with this module: it lives there, or has no other page."""
    home = getattr(value, "__module__", module) if callable(value) else module
    unit = ".".join(home.split(".")[:2])
    if unit == module or not unit.startswith("dfl."):
        return True
    return name not in importlib.import_module(unit).__all__


def _entry(module: str, name: str, value: object) -> str:
    if inspect.isclass(value):
        return f".. autoclass:: {module}.{name}"
    if inspect.isfunction(value):
        return f".. autofunction:: {module}.{name}"
    if isinstance(value, Registry):
        return f".. py:data:: {module}.{name}\n\n   Names: {', '.join(value)}."
    return f".. py:data:: {module}.{name}\n\n   ``{str(value)[:200]}``"


def _write_pages(app):
    folder = _HERE / "api"
    folder.mkdir(exist_ok=True)
    pages = api_pages()
    for path in folder.glob("*.md"):
        if path.stem not in pages:
            path.unlink()
    for name, page in pages.items():
        (folder / f"{name}.md").write_text(page, encoding="utf-8")


def _literal(app, what, name, obj, options, lines):  # Sphinx's signature
    """Escape what docstrings mean literally: norms ``|x|`` and products ``a * b``."""
    lines[:] = [_escaped(line) for line in lines]


def _escaped(line: str) -> str:
    parts = line.split("``")
    parts[::2] = [part.replace("|", r"\|").replace("*", r"\*") for part in parts[::2]]
    return "``".join(parts)


def setup(app):
    """Write the API pages, and look at docstrings before napoleon does."""
    app.connect("builder-inited", _write_pages)
    app.connect("autodoc-process-docstring", _literal, priority=100)
