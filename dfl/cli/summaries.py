"""One line on each registered part, from its source: nothing is imported for it."""

import ast
import inspect
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dfl.errors import DflError
from dfl.registry import Registry

__all__ = ["summary"]

_NOTHING = "(no description: its class has no docstring)"


def summary(registry: Registry[Any], name: str) -> str:
    """Return the first paragraph of a part's own docstring, or why there is none.

    Args:
        registry: of its family.
        name: of the part.
    """
    target = registry.entry(name).target
    try:
        node = _written(target)
        text = _docstring(registry.load(name)) if node is None else ast.get_docstring(node)
    except DflError as error:
        return str(error)
    except Exception as error:  # a third party's part may fail in any way
        return f"(cannot be loaded: {type(error).__name__}: {error})"
    options = registry.entry(name).options
    preset = f" With {', '.join(f'{key}={_short(one)}' for key, one in options.items())}."
    return (text or _NOTHING).partition("\n\n")[0].replace("\n", " ") + preset * bool(options)


def _short(value: object) -> str:
    """Return a part with those options that differ from its defaults, else its representation."""
    kind = type(value)
    if kind.__module__ == "builtins":
        return str(value)
    names = inspect.signature(kind).parameters
    try:
        usual = kind()
    except TypeError:  # an option has no default
        usual = None
    shown = [
        f"{name}={_short(getattr(value, name))}"
        for name in names
        if usual is None or repr(getattr(value, name)) != repr(getattr(usual, name))
    ]
    return f"{kind.__name__}({', '.join(shown)})"


def _written(target: str) -> ast.ClassDef | None:
    """Return the class as it stands in its file, if all that the file imports is installed."""
    module, _, attribute = target.partition(":")
    parent = module.rpartition(".")[0]
    if parent and find_spec(parent.partition(".")[0]) is None:
        return None
    spec = find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    if any(find_spec(root) is None for root in _imported(tree)):
        return None
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    return next((node for node in classes if node.name == attribute), None)


def _imported(tree: ast.Module) -> set[str]:
    """Return the packages that a module imports at its top."""
    roots = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            roots.add(node.module.partition(".")[0])
    return roots


def _docstring(cls: type) -> str | None:
    """Return a class's own docstring; neither an interface's nor the one a dataclass makes up."""
    text = cls.__dict__.get("__doc__")
    if not text or text.startswith(f"{cls.__name__}("):
        return None
    return inspect.cleandoc(text)
