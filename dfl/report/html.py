"""One self-contained page per run: figures as tables, plots, and the configuration."""

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any

from dfl.report.tables import Table

__all__ = ["page"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 0 0 1.5rem; }
img { max-width: 100%; }
pre { background: #f6f6f6; padding: 1rem; overflow-x: auto; }
"""


def page(title: str, tables: Sequence[Table], plots: Mapping[str, bytes], config: str) -> str:
    """Return an HTML page that needs no other file.

    Args:
        title: of the page.
        tables: shown in this order.
        plots: caption to PNG, shown in this order.
        config: the resolved configuration as YAML.
    """
    parts = [f"<h1>{html.escape(title)}</h1>"]
    parts += [_table(table) for table in tables]
    parts += [_figure(caption, image) for caption, image in plots.items()]
    parts.append(f"<h2>Configuration</h2><pre>{html.escape(config)}</pre>")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _table(table: Table) -> str:
    head = _row("th", table.columns)
    body = "".join(_row("td", row) for row in table.rows)
    note = f"<p>{html.escape(table.note)}</p>" if table.note else ""
    return f"<h2>{html.escape(table.title)}</h2>{note}<table>{head}{body}</table>"


def _row(tag: str, cells: Sequence[Any]) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(str(cell))}</{tag}>' for cell in cells)}</tr>"


def _figure(caption: str, image: bytes) -> str:
    data = base64.b64encode(image).decode("ascii")
    alt = html.escape(caption)
    return (
        f'<figure><img alt="{alt}" src="data:image/png;base64,{data}">'
        f"<figcaption>{alt}</figcaption></figure>"
    )
