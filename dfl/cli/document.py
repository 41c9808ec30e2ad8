"""What ``--json`` prints: the results of a command as one document of plain JSON."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:  # keeps the start of the command line quick
    from dfl.report.tables import Table

__all__ = ["Document", "begin", "document", "publish", "published"]


@final
@dataclass(kw_only=True)
class Document:
    """Everything that a command would have printed on stdout.

    Args:
        command: name of the command.
        tables: its tables, as text.
        said: its lines.
        results: the same as numbers, in the words of the file that holds them.
    """

    command: str
    tables: list["Table"] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)

    @property
    def holds_something(self) -> bool:
        """False where another process speaks for this one."""
        return bool(self.tables or self.said or self.results)

    def text(self) -> str:
        """Return the document as JSON; text that is no Unicode is spelt out."""
        tables = [
            {
                "title": one.title,
                "columns": [*one.columns],
                "rows": [[*row] for row in one.rows],
                "note": one.note,
            }
            for one in self.tables
        ]
        content = {
            "command": self.command,
            "results": self.results,
            "tables": tables,
            "said": self.said,
        }
        return json.dumps(content, indent=2, allow_nan=False)


_open: ContextVar[Document | None] = ContextVar("document", default=None)


def begin(command: str) -> None:
    """Collect what the command prints from here on."""
    _open.set(Document(command=command))


def document() -> Document | None:
    """Return the document that is being collected, or None where text is printed."""
    return _open.get()


def publish(results: Mapping[str, Any]) -> None:
    """Add results as plain data to the document, if one is collected."""
    if (collected := document()) is not None:
        collected.results |= results


@contextmanager
def published() -> Iterator[None]:
    """Print the document that the block collected, if it ended well."""
    _open.set(None)
    try:
        yield
        if (collected := document()) is not None and collected.holds_something:
            print(collected.text())
    finally:
        _open.set(None)
