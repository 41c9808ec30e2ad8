"""Where configurations come from: shipped files, own files, names, and changes to them."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from dfl.config.assembly import spec_of
from dfl.config.yaml_text import from_yaml, read_yaml
from dfl.errors import ConfigError
from dfl.methods import METHODS
from dfl.registry import unknown_name

__all__ = [
    "change",
    "choose_data",
    "choose_part",
    "load_config",
    "shipped_names",
    "shipped_summary",
]


def shipped_names() -> tuple[str, ...]:
    """Return the names of the configurations that ship with dfl, sorted."""
    names = (entry.name for entry in files("dfl").joinpath("configs").iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def shipped_summary(name: str) -> str:
    """Return the comment on the first line of a shipped configuration."""
    text = files("dfl").joinpath("configs", f"{name}.yaml").read_text(encoding="utf-8")
    return text.partition("\n")[0].removeprefix("# ")


def load_config(source: str) -> dict[str, Any]:
    """Read a configuration.

    Args:
        source: path of a YAML file, name of a shipped configuration, or name of a method,
            which then runs with the defaults of its constructor.

    Returns:
        Its sections; ``name`` is set, from the file's name where the file does not say.

    Raises:
        DataNotFoundError: if a path names no file.
        ConfigError: if the name is unknown, or the file holds no configuration.
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        config = read_yaml(path)
    elif source in shipped_names():
        text = files("dfl").joinpath("configs", f"{source}.yaml").read_text(encoding="utf-8")
        config = from_yaml(text, f"the shipped {source}.yaml")
    elif source in METHODS:
        config = {"method": source}
    else:
        known = {*shipped_names(), *METHODS.names()}
        raise ConfigError(
            f"{unknown_name('configurations', source, known)} A file's name ends in .yaml."
        )
    return {"name": path.stem if path.suffix else path.name, **config}


def choose_part(config: Mapping[str, Any], section: str, name: str) -> dict[str, Any]:
    """Return the configuration with another part in a section.

    Its options are kept if the section names that part already, else they start from the
    part's own defaults. Another loss comes with its own layer: choose a layer after it.
    """
    old = spec_of(config.get(section), section)
    if old.get("name") == name:
        return {**config, section: old}
    kept = {key: value for key, value in config.items() if (section, key) != ("loss", "layer")}
    return {**kept, section: {"name": name}}


def choose_data(config: Mapping[str, Any], given: str) -> dict[str, Any]:
    """Return the configuration on other data.

    Args:
        config: sections.
        given: name of a data set or simulator, or path of a Parquet or CSV file.
    """
    if Path(given).suffix in (".parquet", ".csv", ".tsv", ".gz"):
        return {**config, "data": {"path": given}}
    return choose_part(config, "data", given)


def change(config: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Return the configuration with options set by dotted path.

    Args:
        config: sections.
        settings: ``"training.epochs=3"``; values are YAML, so ``a.b=[1, 2]`` is a list.

    Raises:
        ConfigError: if a setting is not of that form, leads through a plain value, or comes twice.
    """
    changed: dict[str, Any] = dict(config)
    seen: set[tuple[str, ...]] = set()
    for setting in settings:
        path, equals, text = setting.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            raise ConfigError(f"--set takes section.option=value, got {setting!r}.")
        if tuple(keys) in seen:
            raise ConfigError(f"--set {path} is given twice; leave one out.")
        seen.add(tuple(keys))
        changed = _with(changed, keys, from_yaml(text, f"--set {path}"), path)
    return changed


def _with(mapping: Mapping[str, Any], keys: Sequence[str], value: Any, path: str) -> dict[str, Any]:
    if len(keys) == 1:
        return {**mapping, keys[0]: value}
    try:
        inner = spec_of(mapping.get(keys[0]), keys[0])
    except ConfigError as error:
        raise ConfigError(f"--set {path}: {error}") from error
    return {**mapping, keys[0]: _with(inner, keys[1:], value, path)}
