"""One self-contained page per run: figures as tables, plots, and the configuration."""

import base64
from collections.abc import Mapping, Sequence

from jinja2 import Environment

from dfl.report.tables import Table

__all__ = ["page"]

_PAGE = Environment(autoescape=True, trim_blocks=True).from_string(
    """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title><style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 0 0 1.5rem; }
img { max-width: 100%; }
pre { background: #f6f6f6; padding: 1rem; overflow-x: auto; }
</style></head><body><h1>{{ title }}</h1>
{% macro row(tag, cells) %}
<tr>{% for cell in cells %}<{{ tag }}>{{ cell }}</{{ tag }}>{% endfor %}</tr>
{% endmacro %}
{% for table in tables %}
<h2>{{ table.title }}</h2>{% if table.note %}<p>{{ table.note }}</p>{% endif %}
<table>{{ row("th", table.columns) }}{% for cells in table.rows %}{{ row("td", cells) }}{% endfor %}
</table>
{% endfor %}
{% for caption, image in plots %}
<figure><img alt="{{ caption }}" src="data:image/png;base64,{{ image }}">
<figcaption>{{ caption }}</figcaption></figure>
{% endfor %}
<h2>Configuration</h2><pre>{{ config }}</pre></body></html>
"""
)


def page(title: str, tables: Sequence[Table], plots: Mapping[str, bytes], config: str) -> str:
    """Return an HTML page that needs no other file.

    Args:
        title: of the page.
        tables: shown in this order.
        plots: caption to PNG, shown in this order.
        config: the resolved configuration as YAML.
    """
    images = [(caption, base64.b64encode(png).decode("ascii")) for caption, png in plots.items()]
    return _PAGE.render(title=title, tables=tables, plots=images, config=config)
