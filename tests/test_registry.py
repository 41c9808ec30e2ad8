import sys
from abc import ABC, abstractmethod
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

import dfl.registry
import dfl.seeds
from dfl.errors import ConfigError, DuplicateNameError, MissingExtraError, UnknownNameError
from dfl.registry import Entry, Registry, lazy, unknown_name
from dfl.seeds import stream


class AbstractShape(ABC):
    @abstractmethod
    def area(self) -> float: ...


class Square(AbstractShape):
    def __init__(self, side: float = 1.0) -> None:
        self.side = side

    def area(self) -> float:
        return self.side**2


class Colour:
    pass


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the classes above importable as `parts:Square`, and third parties absent."""
    module = ModuleType("parts")
    vars(module).update(Square=Square, Colour=Colour)
    monkeypatch.setitem(sys.modules, "parts", module)
    monkeypatch.setattr(dfl.registry, "entry_points", lambda group: [])


def shapes(**table: str | Entry) -> Registry[AbstractShape]:
    # An abstract class as `type[T]` is what a registry is for.
    return Registry("shapes", AbstractShape, table)  # type: ignore[type-abstract]


def test_a_name_loads_its_class() -> None:
    assert shapes(square="parts:Square").load("square") is Square


def test_names_are_sorted_and_membership_is_by_name() -> None:
    table = shapes(square="parts:Square", circle="parts:Circle")
    assert table.names() == ("circle", "square")
    assert "circle" in table
    assert "triangle" not in table
    assert 3 not in table


def test_nothing_is_imported_before_load() -> None:
    table = shapes(ghost="a_module_that_does_not_exist:Ghost")
    assert table.names() == ("ghost",)
    with pytest.raises(
        MissingExtraError,
        match=r"^'ghost' of shapes needs the package 'a_module_that_does_not_exist', which is not "
        r"installed; install it\.$",
    ):
        table.load("ghost")


def test_register_adds_a_name() -> None:
    table = shapes()
    table.register("square", "parts:Square")
    table.register("same", Entry("parts:Square"))
    assert table.load("square") is table.load("same") is Square


def test_a_name_is_registered_once() -> None:
    table = shapes(square="parts:Square")
    with pytest.raises(
        DuplicateNameError,
        match=r"^'square' is already in shapes \(parts:Square\); choose another name\.$",
    ):
        table.register("square", "elsewhere:Square")
    assert table.load("square") is Square


def test_an_unknown_name_is_answered_with_the_nearest_and_the_list() -> None:
    table = shapes(square="parts:Square", circle="parts:Circle")
    with pytest.raises(
        UnknownNameError,
        match=r"^'sqare' is not among the shapes\. "
        r"Did you mean 'square'\? Known: circle, square\.$",
    ):
        table.load("sqare")


def test_a_name_like_no_other_gets_the_list_alone() -> None:
    message = unknown_name("shapes", "zzz", ["oval", "circle"])
    assert message == "'zzz' is not among the shapes. Known: circle, oval."
    message = unknown_name("shapes", "zzz", [])
    assert message == "'zzz' is not among the shapes. Known: none."


def test_a_missing_package_is_answered_with_the_command_that_installs_it() -> None:
    table = shapes(ghost=Entry("a_module_that_does_not_exist:Ghost", extra="ghosts"))
    with pytest.raises(
        MissingExtraError,
        match=r"^'ghost' of shapes needs the package 'a_module_that_does_not_exist', which is not "
        r"installed: pip install 'dfl-toolkit\[ghosts\]'$",
    ):
        table.load("ghost")


def test_a_class_of_another_family_is_refused() -> None:
    table = shapes(colour="parts:Colour")
    with pytest.raises(
        ConfigError, match=r"^parts:Colour must be a class that implements AbstractShape\.$"
    ):
        table.load("colour")


def test_something_that_is_no_class_is_refused() -> None:
    vars(sys.modules["parts"]).update(unit=Square())
    with pytest.raises(ConfigError, match=r"^parts:unit must be a class"):
        shapes(unit="parts:unit").load("unit")


def test_a_part_that_cannot_be_loaded_is_the_fault_of_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "parts_that_fail.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    table = shapes(failing="parts_that_fail:Square", gone="parts:Gone")
    for name, reason in (
        ("failing", "ZeroDivisionError: division by zero"),
        ("gone", "AttributeError: .* has no attribute 'Gone'"),
    ):
        with pytest.raises(
            ConfigError,
            match=rf"^'{name}' of shapes \(.*\) cannot be loaded: {reason}; mend or uninstall the "
            r"package that brings it\.$",
        ):
            table.load(name)


def test_third_parties_join_through_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def entry_points(group: str) -> list[EntryPoint]:
        asked.append(group)
        return [EntryPoint("theirs", "parts:Square", group)]

    monkeypatch.setattr(dfl.registry, "entry_points", entry_points)
    table = shapes(square="parts:Square")
    assert table.names() == ("square", "theirs")
    assert table.load("theirs") is Square
    assert asked == ["dfl.shapes"]  # read once


@pytest.mark.parametrize("written", ["parts:Box.Inner", "parts : Box.Inner [fast]"])
def test_entry_points_are_read_as_python_reads_them(
    written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Box:
        Inner = Square

    vars(sys.modules["parts"]).update(Box=Box)
    point = EntryPoint("inner", written, "dfl.shapes")
    monkeypatch.setattr(dfl.registry, "entry_points", lambda group: [point])
    assert shapes().load("inner") is point.load() is Square


def test_a_third_party_cannot_take_a_name_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = [EntryPoint("square", "elsewhere:Square", "dfl.shapes")]
    monkeypatch.setattr(dfl.registry, "entry_points", lambda group: theirs)
    with pytest.raises(DuplicateNameError, match="'square' is already in shapes"):
        shapes(square="parts:Square").names()


def test_a_registry_is_iterated_by_name() -> None:
    table = shapes(square="parts:Square", circle="parts:Circle")
    assert list(table) == ["circle", "square"]
    assert len(table) == 2


def test_a_name_may_stand_for_options_that_the_caller_replaces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Square, "__module__", "parts")
    table = shapes(square="parts:Square", large=Entry("parts:Square", options={"side": 9.0}))
    assert table.make("square").area() == 1.0
    assert table.make("large").area() == 81.0
    assert table.make("large", side=2.0).area() == 4.0
    assert table.name_of(Square) == "square"
    assert dict(table.entry("large").options) == {"side": 9.0}


def test_making_with_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        shapes(square="parts:Square").make("square", colour="red")


def test_an_entry_that_is_not_there_is_refused_without_importing() -> None:
    with pytest.raises(UnknownNameError, match=r"^'sqare' is not among the shapes"):
        shapes(square="parts:Square").entry("sqare")


def test_a_lazy_name_is_imported_when_it_is_asked_for() -> None:
    member = lazy("parts_of_shapes", {"Square": "", "stream": "seeds"})
    with pytest.raises(AttributeError, match="module 'parts_of_shapes' has no attribute 'Circle'"):
        member("Circle")
    with pytest.raises(ModuleNotFoundError, match="parts_of_shapes"):
        member("Square")
    assert lazy("dfl", {"stream": "seeds"})("stream") is stream
    assert lazy("dfl", {"seeds": ""})("seeds") is dfl.seeds
