"""Runs the command line where the ``dfl`` script is not on the path: ``python -m dfl``."""

from dfl.cli import main

if __name__ == "__main__":
    main()
