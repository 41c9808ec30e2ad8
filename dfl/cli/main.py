"""`main`: runs the command line as a process."""

import io
import os
import sys

from dfl.cli.app import app
from dfl.cli.guard import interruptible

__all__ = ["main"]


def main() -> None:
    """Run the command line.

    What the encoding of the output has no letters for is spelt out, as on stderr.

    One of several processes ends at once when its work is done: threads of gloo now and then abort
    a process that takes its leave step by step, and torchrun would call a finished run failed.

    Raises:
        SystemExit: with the exit code.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with interruptible():
            app()
    except SystemExit as end:
        if os.environ.get("WORLD_SIZE", "1") == "1":
            raise
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else bool(end.code))
