"""What a part's constructor takes: names, types and defaults, read from its signature."""

import inspect
import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, Union, final, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from torch import nn

from dfl.budget import Budget
from dfl.data import DATASETS, AbstractDataSource
from dfl.errors import ConfigError
from dfl.hypergrad import HYPERGRADIENTS, AbstractHypergradient
from dfl.layers import LAYERS, AbstractLayer
from dfl.losses import LOSSES, AbstractDecisionLoss
from dfl.methods import METHODS, AbstractMethod, Training
from dfl.models import ARCHITECTURES, AbstractArchitecture
from dfl.registry import Registry
from dfl.solvers import SOLVERS, AbstractSolver
from dfl.solvers.scenarios import FORMULATIONS, AbstractFormulation

__all__ = ["DATA", "METHOD", "SOLVER", "Option", "PartType", "Section", "options_of", "plain"]

Section: TypeAlias = Literal["layer", "loss", "hypergrad", "network", "training"]


@final
@dataclass(frozen=True)
class PartType:
    """An option whose value is itself a part with options.

    Args:
        base: interface of a family, or a plain dataclass of settings.
        registry: names of the family, or None for plain settings.
        section: top-level section that may describe it, or None.
        many: the option is a tuple of such parts.
        optional: the option may be null.
    """

    base: type
    registry: Registry[Any] | None = None
    section: Section | None = None
    many: bool = False
    optional: bool = False

    def name_of(self, instance: object) -> str:
        """Return the name of a member of the family, or of the class of plain settings.

        Where several names stand for the class, the one with most options that the member has.

        Raises:
            UnknownNameError: if the member's class is not registered.
        """
        cls = type(instance)
        if self.registry is None:
            return cls.__name__
        target = f"{cls.__module__}:{cls.__qualname__}"
        entries = {name: self.registry.entry(name) for name in self.registry}
        presets = {name: one.options for name, one in entries.items() if one.target == target}
        if not presets:
            return self.registry.name_of(cls)  # which raises
        fits = [
            name
            for name, options in presets.items()
            if all(_alike(getattr(instance, key, None), one) for key, one in options.items())
        ]
        return max(fits or presets, key=lambda name: len(presets[name]))


@final
@dataclass(frozen=True)
class Option:
    """One argument of a part's constructor.

    Args:
        name: of the argument.
        annotation: its type, with forward references resolved.
        default: its default, a fresh one where a factory makes it; MISSING if required.
        part: what it is made of, or None for a plain value.
        named: options of another part that is named here, if it has all of them; a dataclass
            says them in its field's metadata, under ``"named"``.
    """

    name: str
    annotation: Any
    default: Any
    part: PartType | None
    named: Mapping[str, object] = field(default_factory=dict)

    def check(self, value: object, where: str) -> object:
        """Return ``value`` as the constructor wants it; a list becomes a tuple.

        Args:
            value: plain data, as YAML gives it.
            where: dotted path of the option, for the error's text.

        Raises:
            ConfigError: if it has the wrong type; nothing is converted by guessing.
        """
        if value is None and type(None) in get_args(self.annotation):
            return None
        try:
            text = json.dumps(value)
        except TypeError as error:
            raise ConfigError(f"{where} must be plain data, got {value!r}.") from error
        try:
            adapter = TypeAdapter[object](self.annotation, config=ConfigDict(strict=True))
            return adapter.validate_json(text)
        except ValidationError as error:
            wanted = " or ".join(dict.fromkeys(one["msg"] for one in error.errors()))
            raise ConfigError(f"{where}: {wanted}, got {value!r}.") from error
        except PydanticUserError as error:
            raise ConfigError(
                f"{where} takes a {self.annotation}, which no configuration can give; use Python."
            ) from error


DATA = PartType(AbstractDataSource, DATASETS)
METHOD = PartType(AbstractMethod, METHODS)
SOLVER = PartType(AbstractSolver, SOLVERS)

_KINDS: tuple[PartType, ...] = (
    METHOD,
    DATA,
    SOLVER,  # the section `solver` allocates; a solver inside a layer is given there
    PartType(AbstractFormulation, FORMULATIONS),
    PartType(AbstractLayer, LAYERS, "layer"),
    PartType(AbstractDecisionLoss, LOSSES, "loss"),
    PartType(AbstractHypergradient, HYPERGRADIENTS, "hypergrad"),
    PartType(AbstractArchitecture, ARCHITECTURES, "network"),
    PartType(Training, None, "training"),
    PartType(Budget),
)


def options_of(cls: type) -> dict[str, Option]:
    """Return the options of a part's constructor, in order.

    Raises:
        ConfigError: if the constructor has no named options.
    """
    if issubclass(cls, nn.Module) and cls.__init__ is nn.Module.__init__:
        return {}  # a layer without options; the inherited constructor takes *args
    hints = get_type_hints(cls.__init__)  # type: ignore[misc]  # read, not called
    own = {f.name: f for f in fields(cls)} if is_dataclass(cls) else {}
    options = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            raise ConfigError(
                f"{cls.__name__} takes *args or **kwargs, so its options cannot be checked; "
                "name them in its constructor."
            )
        default = MISSING if parameter.default is parameter.empty else parameter.default
        named: Mapping[str, object] = {}
        if name in own:
            named = own[name].metadata.get("named", named)
            factory = own[name].default_factory
            if factory is not MISSING:
                default = factory()
        annotation = hints.get(name, Any)
        options[name] = Option(name, annotation, default, _part_type(annotation), named)
    return options


def plain(value: object, where: str) -> object:
    """Return an option's value as plain data that YAML can hold.

    Raises:
        ConfigError: if it is no plain data.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [plain(one, where) for one in value]
    if isinstance(value, Mapping):
        return {str(key): plain(one, where) for key, one in value.items()}
    raise ConfigError(
        f"{where} is a {type(value).__name__}, which no configuration can hold; use Python."
    )


def _alike(one: object, other: object) -> bool:
    """Say whether two values are equal, or parts of equal options."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    if type(one) is not type(other) or _part_type(type(one)) is None:
        return one == other
    names = options_of(type(one))
    return all(_alike(getattr(one, name, None), getattr(other, name, None)) for name in names)


def _part_type(annotation: Any) -> PartType | None:
    """Return what an option of this type is made of, or None for a plain value."""
    optional = False
    if get_origin(annotation) in (Union, types.UnionType):
        left = [one for one in get_args(annotation) if one is not type(None)]
        if len(left) > 1:
            return None
        optional, annotation = True, left[0]
    arguments = get_args(annotation)
    many = get_origin(annotation) is tuple and len(arguments) == 2 and arguments[1] is Ellipsis
    base: Any = arguments[0] if many else annotation
    if not inspect.isclass(base):
        return None
    for kind in _KINDS:
        if issubclass(base, kind.base):
            return PartType(kind.base, kind.registry, kind.section, many, optional)
    return PartType(base, None, None, many, optional) if is_dataclass(base) else None
