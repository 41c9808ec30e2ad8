"""One self-contained page: sentences, tables, plots, and numbers that its script moves over."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, final

from jinja2 import Environment

from dfl.report.plots import ABOUT
from dfl.report.tables import Table

__all__ = ["Section", "page", "plain_sections", "to_bytes"]

_FILES = files("dfl.report") / "page"


def _text(name: str) -> str:
    return (_FILES / name).read_text(encoding="utf-8")


def _environment() -> Environment:
    found = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    found.policies["json.dumps_kwargs"] = {"allow_nan": False}  # and the order of names is kept
    return found


@final
@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        title: heading, or empty.
        words: sentences that stand first.
        tables: shown in this order.
        plots: captions of the images that follow, where they could be drawn.
        widget: what moves here, by the page's script: ``"slider"`` over the budget, ``"groups"``
            by a column that is chosen.
        text: shown as it is, such as a configuration.
        folded: closed until it is opened.
    """

    title: str
    words: Sequence[str] = ()
    tables: Sequence[Table] = ()
    plots: Sequence[str] = ()
    widget: Literal["", "slider", "groups"] = ""
    text: str = ""
    folded: bool = False


def plain_sections(tables: Sequence[Table], plots: Sequence[str], config: str) -> list[Section]:
    """Return tables, then plots, then the configuration, folded.

    Args:
        tables: shown in this order.
        plots: captions.
        config: the resolved configuration as YAML.
    """
    return [
        Section("", tables=tables, plots=plots),
        Section("Configuration", text=config, folded=True),
    ]


def to_bytes(text: str) -> bytes:
    """Return text as UTF-8; half a letter, which a name may hold, is shown by its code."""
    return text.encode("utf-8", "backslashreplace")


def page(
    title: str,
    sections: Sequence[Section],
    images: Mapping[str, bytes],
    *,
    lead: Sequence[str] = (),
    numbers: Mapping[str, Any] | None = None,
) -> str:
    """Return an HTML page that needs no other file, nor a network.

    Whatever a name holds is shown letter by letter, also inside the embedded numbers.

    Args:
        title: of the page.
        sections: shown in this order.
        images: caption to PNG.
        lead: the first sentences.
        numbers: what the script moves over: ``curve`` and ``mix`` as in ``metrics.json``,
            ``treatments``, ``start`` (budget per head) and ``groups``. None: no script.
    """
    encoded = {name: base64.b64encode(png).decode("ascii") for name, png in images.items()}
    return (
        _environment()
        .from_string(_text("report.html"))
        .render(
            title=title,
            sections=sections,
            images=encoded,
            about=ABOUT,
            lead=lead,
            numbers=numbers,
            style=_text("report.css"),
            script=_text("report.js"),
        )
    )
