"""YAML that is read strictly: no repeated key, ``1e-3`` is a number, ``no`` is a word."""

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, final

import yaml

from dfl.errors import ConfigError, DataNotFoundError

__all__ = ["from_yaml", "read_yaml", "to_yaml"]


@final
class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the three repairs named above."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a key that comes twice; PyYAML would keep the last in silence."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {twice[0]!r} is given twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


@final
class _StrictDumper(yaml.SafeDumper):
    """PyYAML's safe dumper, quoting whatever it or the loader above would take for a number."""


# YAML 1.1, which PyYAML speaks, reads 1e-3 as text and `no` and `off` as false.
_FLOAT = re.compile(
    r"^(?:[-+]?(?:\d[\d_]*\.[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?|[-+]?\d[\d_]*[eE][-+]?\d+"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_REPLACED = {"tag:yaml.org,2002:float", "tag:yaml.org,2002:bool"}

_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, list("tTfF"))
_StrictDumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def from_yaml(text: str, source: str) -> Any:
    """Parse YAML text.

    Args:
        text: one YAML document.
        source: where it came from, for the error's text.

    Raises:
        ConfigError: if the text is not YAML, or a key is given twice.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # a safe loader
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not valid YAML: {error}") from error


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
