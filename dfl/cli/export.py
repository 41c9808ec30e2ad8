"""``dfl export``."""

from pathlib import Path

from dfl.cli.console import say
from dfl.cli.document import publish
from dfl.pipeline import RunFolder
from dfl.pipeline.exporting import export_rule

__all__ = ["export_command"]


def export_command(run: Path, output: Path, *, overwrite: bool) -> None:
    """Write a run's model and its decision at a price as one ONNX file.

    Args:
        run: folder of a finished run.
        output: file to write.
        overwrite: whether it may replace a file.

    Raises:
        DflError: whatever the export raises.
    """
    done = export_rule(RunFolder.open(run), output, overwrite=overwrite)
    say(
        f"Written: {done.path}. Run by onnxruntime on {done.rows:,} drawn people at four prices: "
        f"{done.differ} choices differ from the model's, ties but for rounding."
    )
    publish({"path": str(done.path), "rows": done.rows, "differ": done.differ})
