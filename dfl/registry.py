"""Tables that turn a name of the command line into a class, loaded on first use.

In Python, use the classes. Names serve configuration files and the command line.
"""

import difflib
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from operator import attrgetter
from typing import Any, Generic, TypeVar, final

from dfl.errors import (
    ConfigError,
    DflError,
    DuplicateNameError,
    MissingExtraError,
    UnknownNameError,
)

__all__ = ["Entry", "Registry", "lazy", "unknown_name"]

T = TypeVar("T")


@final
@dataclass(frozen=True)
class Entry:
    """Where a registered class lives.

    Args:
        target: ``"package.module:ClassName"``.
        extra: the optional dependency group the module needs, or None.
        options: keyword arguments that the name stands for; whoever uses the name may
            replace them. Empty for a class under its own name.
    """

    target: str
    extra: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)


def unknown_name(table: str, name: str, known: Iterable[str]) -> str:
    """Say that a name is not known, which name is nearest, and which are known.

    Args:
        table: what was searched, in the plural: ``"solvers"``.
        name: the name that came.
        known: every name that would have been accepted.
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listing = ", ".join(known) or "none"
    return f"{name!r} is not among the {table}.{hint} Known: {listing}."


def lazy(package: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """Return a package's ``__getattr__`` that imports some of its names on first use.

    Args:
        package: name of the package.
        modules: module of each name, below the package; empty where the name is itself a
            module of the package.
    """

    def __getattr__(name: str) -> object:  # noqa: N807  # it becomes the package's own
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if not modules[name]:
            return importlib.import_module(f"{package}.{name}")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return __getattr__


@final
class Registry(Generic[T]):
    """Name to class table of one family, open to third parties through entry points.

    Args:
        family: folder and entry-point group of the family: ``"solvers"`` reads the entry
            points of the group ``dfl.solvers``.
        base: the interface that every member implements.
        table: the names that ship with dfl.
    """

    def __init__(self, family: str, base: type[T], table: Mapping[str, str | Entry]) -> None:
        self.family = family
        self.base = base
        self._entries = {
            name: entry if isinstance(entry, Entry) else Entry(entry)
            for name, entry in table.items()
        }
        self._third_parties_read = False

    def __contains__(self, name: object) -> bool:
        """Say whether ``name`` is registered."""
        return name in self._all()

    def __iter__(self) -> Iterator[str]:
        """Iterate over every registered name, sorted."""
        return iter(self.names())

    def __len__(self) -> int:
        """Return how many names are registered."""
        return len(self._all())

    def names(self) -> tuple[str, ...]:
        """Return every registered name, sorted."""
        return tuple(sorted(self._all()))

    def register(self, name: str, target: str | Entry) -> None:
        """Add a name.

        Args:
            name: new name, in kebab-case.
            target: ``"module:ClassName"``, or an `Entry`.

        Raises:
            DuplicateNameError: if the name is taken.
        """
        self._all()
        self._add(name, target if isinstance(target, Entry) else Entry(target))

    def load(self, name: str) -> type[T]:
        """Return the class registered under ``name``, importing its module if needed.

        Raises:
            UnknownNameError: if the name is not registered.
            MissingExtraError: if the module needs a package that is not installed.
            ConfigError: if the module fails or lacks the target, or the target does not implement
                the family's interface.
            DflError: whatever the module raises of these by itself.
        """
        entry = self.entry(name)
        module, _, attribute = entry.target.partition(":")
        try:
            loaded = attrgetter(attribute)(importlib.import_module(module))
        except DflError:
            raise
        except ModuleNotFoundError as error:
            command = (
                f": pip install 'dfl-toolkit[{entry.extra}]'" if entry.extra else "; install it."
            )
            raise MissingExtraError(
                f"{name!r} of {self.family} needs the package {error.name!r}, which is not "
                f"installed{command}"
            ) from error
        except Exception as error:  # a third party's module may fail in any way
            raise ConfigError(
                f"{name!r} of {self.family} ({entry.target}) cannot be loaded: "
                f"{type(error).__name__}: {error}; mend or uninstall the package that brings it."
            ) from error
        if not (isinstance(loaded, type) and issubclass(loaded, self.base)):
            raise ConfigError(
                f"{entry.target} must be a class that implements {self.base.__name__}."
            )
        return loaded

    def entry(self, name: str) -> Entry:
        """Return what is registered under ``name``; nothing is imported.

        Raises:
            UnknownNameError: if the name is not registered.
        """
        entries = self._all()
        if name not in entries:
            raise UnknownNameError(unknown_name(self.family, name, entries))
        return entries[name]

    def make(self, name: str, **options: Any) -> T:
        """Build the part registered under ``name``.

        Args:
            name: of the part.
            options: of its constructor; they replace those that the name itself stands for.

        Raises:
            UnknownNameError: as in `load`.
            MissingExtraError: as in `load`.
            ConfigError: as in `load`.
            TypeError: if an option is unknown.
        """
        return self.load(name)(**{**self.entry(name).options, **options})

    def name_of(self, cls: type) -> str:
        """Return the name under which a class is registered without options of its own.

        Nothing is imported.

        Raises:
            UnknownNameError: if no entry points to the module and name of the class.
        """
        target = f"{cls.__module__}:{cls.__qualname__}"
        for name, entry in self._all().items():
            if entry.target == target and not entry.options:
                return name
        raise UnknownNameError(
            f"{target} is not among the {self.family}; register it to name it in a configuration."
        )

    def _all(self) -> dict[str, Entry]:
        if not self._third_parties_read:
            for point in entry_points(group=f"dfl.{self.family}"):
                # Blanks, and extras of the package itself, may stand beside module and class.
                entry = Entry("".join(point.value.partition("[")[0].split()))
                if self._entries.get(point.name) != entry:  # not read before a clash
                    self._add(point.name, entry)
            self._third_parties_read = True
        return self._entries

    def _add(self, name: str, entry: Entry) -> None:
        """Add a name; raise `DuplicateNameError` if it is taken."""
        if name in self._entries:
            raise DuplicateNameError(
                f"{name!r} is already in {self.family} ({self._entries[name].target}); "
                "choose another name."
            )
        self._entries[name] = entry
