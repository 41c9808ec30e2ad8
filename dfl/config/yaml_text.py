"""YAML that is read strictly: no repeated key, ``1e-3`` is a number, ``no`` is a word.

Only what JSON can hold comes out of it: a date is a word, a tag is refused, and so is a text
that would unfold to more than any configuration needs.
"""

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, final

import yaml

from dfl.errors import ConfigError, DataNotFoundError

__all__ = ["from_yaml", "read_yaml", "to_yaml"]


@final
class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the repairs named above."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a key that comes twice; PyYAML would keep the last in silence."""
        seen: set[Hashable] = set()
        for place, _ in node.value:
            key = self.construct_object(place, deep=True)
            if not isinstance(key, Hashable):  # refused below
                continue
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {str(key)!r} is given twice", place.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


@final
class _StrictDumper(yaml.SafeDumper):
    """PyYAML's safe dumper, quoting whatever it or the loader above would take for a number."""

    def ignore_aliases(self, data: object) -> bool:
        """Write everything out where it stands."""
        return True


_MOST_LETTERS, _MOST_NODES = 1_000_000, 100_000  # nodes: after aliases are unfolded
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool")}
_TAGS.add("tag:yaml.org,2002:null")

# YAML 1.1, which PyYAML speaks, reads 1e-3 as text, `no` and `off` as false, 12:30 as 750, 010 as 8
# and 2020-01-01 as a date.
_INT = re.compile(r"^[-+]?(?:0|[1-9][\d_]*|0x[\da-fA-F_]+|0b[01_]+)$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:\d[\d_]*\.[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?|[-+]?\d[\d_]*[eE][-+]?\d+"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_REPLACED = {f"tag:yaml.org,2002:{kind}" for kind in ("bool", "float", "int", "timestamp")}

_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, list("tTfF"))
_StrictDumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def from_yaml(text: str, source: str) -> Any:
    """Parse YAML text.

    Args:
        text: one YAML document.
        source: where it came from, for the error's text.

    Raises:
        ConfigError: if the text is not YAML, a key is given twice, a tag is used, or aliases
            unfold to themselves or to more than any configuration needs.
    """
    if len(text) > _MOST_LETTERS:
        raise ConfigError(f"{source} has {len(text):,} letters, too many for a configuration.")
    try:
        loader = _StrictLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node, {})
        return loader.construct_document(node)
    except RecursionError as error:
        raise ConfigError(f"{source} is nested too deeply.") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:
        # The last three come from scalars that are not what their tag says, such as !!bool x.
        raise ConfigError(f"{source} is not valid YAML: {_in_one_line(error)}.") from error


def _in_one_line(error: Exception) -> str:
    """Return what PyYAML says on several lines, without the lines of the text that it shows."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    said = ", ".join(one for one in (error.context, error.problem) if one)
    at = error.problem_mark
    return said if at is None else f"{said} in line {at.line + 1}, column {at.column + 1}"


def _check_size(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many nodes a node unfolds to, after checking each tag.

    Args:
        node: with all below it.
        known: identity of a node to its size, 0 while it is being counted.

    Raises:
        MarkedYAMLError: if a tag is none of ours, or the size is without reason or end.
    """
    if node.tag not in _TAGS:
        raise yaml.MarkedYAMLError(problem=f"the tag {node.tag!r} is not taken")
    if id(node) not in known:
        known[id(node)] = 0
        known[id(node)] = 1 + sum(_check_size(one, known) for one in _below(node))
    size = known[id(node)]
    if not 0 < size <= _MOST_NODES:
        problem = "an alias holds itself" if size == 0 else "its aliases unfold to too much"
        raise yaml.MarkedYAMLError(problem=problem)
    return size


def _below(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.ScalarNode):
        node.value.encode()  # raises at half a character, which no file can hold
        return []
    if isinstance(node, yaml.MappingNode):
        return [one for pair in node.value for one in pair]
    return list(node.value)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a configuration file.

    Raises:
        DataNotFoundError: if there is no such file.
        ConfigError: if it cannot be read, or does not hold named sections.
    """
    if not path.is_file():
        raise DataNotFoundError(f"no configuration file at {path}.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text ({error}).") from error
    content = from_yaml(text, str(path))
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path} must hold sections such as 'method: tsm-sl', got {type(content).__name__}."
        )
    return content


def to_yaml(content: Mapping[str, object]) -> str:
    """Return YAML that `from_yaml` reads back to the same content, keys in their order."""
    text: str = yaml.dump(dict(content), Dumper=_StrictDumper, sort_keys=False, allow_unicode=True)
    return text
