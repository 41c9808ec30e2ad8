"""Builds parts from plain data, each by its own constructor, and writes them back."""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, replace
from typing import Any, final, get_args

from dfl.budget import Budget
from dfl.config.options import Option, PartType, Section, options_of, plain
from dfl.errors import ConfigError, DflError, MissingExtraError, UnknownNameError
from dfl.registry import unknown_name

__all__ = ["Assembly", "check_names", "describe", "spec_of"]

_UNSET: Any = object()

# Option names of earlier versions, and where they moved to: the first of which the part knows.
_MOVED: Mapping[str, tuple[str, ...]] = {
    "temperature": ("softness.temperature", "layer.softness.temperature"),
    "sigma": ("softness.temperature",),
    "width": ("softness.temperature",),
    "strength": ("step.temperature", "softness.temperature"),
    "scale": ("softness.scale", "layer.softness.scale"),
    "multiplier": ("price.multiplier",),
    "solver": ("price.solver",),
    "met_by": ("price.met_by",),
    "bridge": ("upper",),
    "network": ("hidden",),
}


def check_names(table: str, given: Iterable[object], known: Iterable[str], where: str) -> None:
    """Refuse a key that is not known, with the nearest one that is.

    Args:
        table: what the keys are, in the plural: ``"options of training"``.
        given: keys that came.
        known: keys that are taken.
        where: path of the section, or empty at the top.

    Raises:
        ConfigError: at the first unknown key.
    """
    known = list(known)
    for key in given:
        if key not in known:
            place = f"{where}: " if where else ""
            raise ConfigError(f"{place}{unknown_name(table, str(key), known)}")


def spec_of(given: object, where: str) -> dict[str, Any]:
    """Return a section as a mapping; a bare word is a name, null is no option.

    Raises:
        ConfigError: if it is neither.
    """
    if given is None:
        return {}
    if isinstance(given, str):
        return {"name": given}
    if isinstance(given, Mapping):
        return dict(given)
    raise ConfigError(f"{where} must be a name or options, got {given!r}.")


@final
@dataclass(frozen=True)
class _Place:
    """Where a part stands.

    Args:
        path: dotted, for error texts.
        sections: flat sections that may still be taken there.
        named: options there of a part that is not the default one, if it has all of them.
    """

    path: str
    sections: frozenset[Section]
    named: Mapping[str, object] = field(default_factory=dict)


@final
class Assembly:
    """Builds one method, giving flat sections to the parts that ask for their kind.

    An option given inside a part wins over a section, a section over the part's default. A
    section goes to the outermost option of its kind on each path: ``network`` to the
    method's own networks and not to those of its bridge. Where the class stays the one that
    is used by default, options that are not given keep the value they have there; another
    class has its own defaults, but for those that the place asks for (`Option.named`).

    Args:
        sections: flat sections that are there.
    """

    def __init__(self, sections: Mapping[Section, object]) -> None:
        self.sections = dict(sections)
        self.taken: dict[str, list[str]] = {}

    def build(self, part: PartType, given: object, where: str) -> Any:
        """Return the part that ``given`` describes.

        Args:
            part: what is built.
            given: a name, or options with the name among them.
            where: path for error texts.

        Raises:
            ConfigError: for an unknown key or name, a wrong type, a missing option or a
                value that the part refuses.
            MissingExtraError: if the part needs a package that is not installed.
        """
        return self._part(part, given, None, _Place(where, frozenset(self.sections)))

    def _part(self, part: PartType, given: object, default: Any, place: _Place) -> Any:
        if part.registry is None and not isinstance(given, Mapping | None):
            options = ", ".join(options_of(part.base))
            raise ConfigError(f"{place.path} must be options, some of {options}; got {given!r}.")
        spec = spec_of(given, place.path)
        cls, name, preset = _class_of(part, spec, default, place.path)
        # A budget is one of three units: mixing it with a default would give two.
        same = type(default) is cls and cls is not Budget and part.name_of(default) == name
        base = default if same else None
        known = options_of(cls)
        _check_moved(spec, known, place.path)
        check_names(f"options of {name}", spec, known, place.path)
        deeper = place.sections - _asked(known)
        if place.named.keys() <= known.keys():
            preset = {**place.named, **preset}
        arguments = {}
        for option in known.values():
            path = f"{place.path}.{option.name}"
            value = preset.get(option.name, option.default)
            if base is not None:
                value = _kept(base, option.name, place.path)
            if option.part is not None:
                inner = self._given(option.name, option.part, spec, place)
                there = _Place(path, deeper, option.named)
                value = self._inside(option.part, inner, value, there)
            elif option.name in spec:
                value = option.check(spec[option.name], path)
            if value is MISSING:
                raise ConfigError(f"{path} is required; give a value.")
            arguments[option.name] = value
        try:
            return cls(**arguments)
        except (DflError, TypeError, ValueError) as error:
            raise ConfigError(f"{place.path}: {error}") from error

    def _given(self, name: str, part: PartType, spec: Mapping[str, Any], place: _Place) -> Any:
        """Return what is given for the part in an option: inside, by a section, or not."""
        if name in spec:
            return spec[name]
        if part.section is None or part.section not in place.sections:
            return _UNSET
        self.taken.setdefault(part.section, []).append(f"{place.path}.{name}")
        section = self.sections[part.section]
        return [section] if part.many else section

    def _inside(self, part: PartType, given: Any, default: Any, place: _Place) -> Any:
        """Build the part, or parts, that stand in one option."""
        if given is None and part.optional:
            return None
        if given is _UNSET:
            if default is None or default is MISSING or part.many:
                return default
            given = {}  # sections may still reach what lies inside the default
        if not part.many:
            return self._part(part, given, default, place)
        if not isinstance(given, list):
            raise ConfigError(f"{place.path} must be a list, got {given!r}.")
        places = [replace(place, path=f"{place.path}[{index}]") for index in range(len(given))]
        return tuple(
            self._part(part, one, None, where) for one, where in zip(given, places, strict=True)
        )


def describe(
    instance: object,
    part: PartType,
    where: str,
    *,
    sections: dict[Section, object] | None = None,
) -> dict[str, object]:
    """Return every option of a part as plain data that builds an equal part.

    Args:
        instance: the part.
        part: what kind of part it is.
        where: its path, for error texts.
        sections: is filled with the flat sections that `Assembly` would hand back to the
            same places, and what lies there is left out of the result; None keeps all of it
            inside the part. A section that is there already with another content stays.

    Raises:
        ConfigError: if an option cannot be written as plain data, or is not kept as an
            attribute of its name.
        UnknownNameError: if the part's class has no name in its family.
    """
    every: frozenset[Section] = frozenset(get_args(Section))
    return _describe(
        instance,
        part,
        where,
        {} if sections is None else sections,
        every if sections is not None else frozenset(),
    )


def _describe(
    instance: object,
    part: PartType,
    where: str,
    sections: dict[Section, object],
    open_: frozenset[Section],
) -> dict[str, object]:
    spec: dict[str, object] = {}
    if part.registry is not None:
        spec["name"] = part.name_of(instance)
    known = options_of(type(instance))
    deeper = open_ - _asked(known)
    for option in known.values():
        path = f"{where}.{option.name}"
        value = _kept(instance, option.name, where)
        if isinstance(instance, Budget) and value is None:
            continue
        if option.part is None or value is None:
            spec[option.name] = plain(value, path)
            continue
        several = value if option.part.many else (value,)
        inner = [_describe(one, option.part, path, sections, deeper) for one in several]
        section = option.part.section
        if (
            len(inner) == 1
            and section in open_
            and sections.setdefault(section, inner[0]) == inner[0]
        ):
            continue
        spec[option.name] = inner if option.part.many else inner[0]
    return spec


def _class_of(
    part: PartType, spec: dict[str, Any], default: Any, where: str
) -> tuple[type, str, Mapping[str, object]]:
    """Take the name out of ``spec``; return the class, the name and the options it stands for."""
    if part.registry is None:
        return part.base, part.base.__name__, {}
    name = spec.pop("name", None)
    if name is None and isinstance(default, part.base):
        return type(default), part.name_of(default), {}
    names = part.registry.names()
    if not isinstance(name, str):
        raise ConfigError(f"{where} needs a name, one of: {', '.join(names)}; got {name!r}.")
    try:
        return part.registry.load(name), name, part.registry.entry(name).options
    except MissingExtraError:
        raise
    except UnknownNameError as error:
        raise ConfigError(f"{where}: {error}") from error


def _check_moved(spec: Mapping[str, Any], known: Mapping[str, Option], where: str) -> None:
    """Refuse an option by its earlier name; raise `ConfigError`."""
    for key in spec:
        new = next((to for to in _MOVED.get(key, ()) if to.partition(".")[0] in known), None)
        if key not in known and new is not None:
            raise ConfigError(f"{where}: {key} is now {new}.")


def _asked(known: Mapping[str, Option]) -> frozenset[Section]:
    """Return the sections that a part's own options ask for; they reach nothing inside it."""
    sections = (option.part.section for option in known.values() if option.part is not None)
    return frozenset(section for section in sections if section is not None)


def _kept(instance: object, name: str, where: str) -> Any:
    """Read an option back; a part keeps each option as an attribute of the same name."""
    try:
        return getattr(instance, name)
    except AttributeError as error:
        raise ConfigError(
            f"{where}: {type(instance).__name__} must keep its option {name!r} as an attribute "
            "of that name, so that configurations can be written back."
        ) from error
