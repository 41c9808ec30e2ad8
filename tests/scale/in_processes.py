"""Runs a program in several processes that share the rows, over gloo."""

import json
import os
import socket
import subprocess
import sys
from typing import Any

__all__ = ["run_in_processes", "start_processes"]


def run_in_processes(program: str, *arguments: str, processes: int = 2) -> list[Any]:
    """Return what the last line that each process prints says, as JSON."""
    found = []
    running = start_processes("-c", program, *arguments, processes=processes)
    try:
        for one in running:
            out, errors = one.communicate(timeout=900)  # on a busy machine
            assert one.returncode == 0, errors
            found.append(json.loads(out.splitlines()[-1]))
    finally:
        for one in running:
            one.kill()
    return found


def start_processes(*arguments: str, processes: int = 2) -> list[subprocess.Popen[str]]:
    """Start Python with these arguments, as torchrun would start it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = []
    for rank in range(processes):
        own = {
            "RANK": str(rank),
            "WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
        }
        running.append(
            subprocess.Popen(
                [sys.executable, *arguments],
                env=os.environ | own,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return running
