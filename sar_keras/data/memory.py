"""How much memory there is for this process, on the machine or in a container."""

import os
from pathlib import Path


def memory_limit(root: Path = Path("/")) -> int:
    """Bytes of the machine's memory, or of the smallest limit of the control groups that this process is in.

    A container is a control group. What counts is in memory.max (version 2) or memory.limit_in_bytes (version 1) of the
    group, and of those above it.

    Args:
        root: The folder that `proc` and `sys` are in.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    limits = [_physical_memory()]
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            mounts, name = ("", "unified"), "memory.max"
        elif "memory" in controllers.split(","):
            mounts, name = ("memory",), "memory.limit_in_bytes"
        else:
            continue
        # A container may see its own group as the uppermost one, under the name that it has outside: what is not there
        # is passed over.
        names = [part for part in group.split("/") if part not in ("", "..")]
        for mount in mounts:
            for depth in range(len(names) + 1):
                limits += _number_in(root.joinpath("sys/fs/cgroup", mount, *names[:depth], name))
    return min(limits)


def _number_in(path: Path) -> list[int]:
    try:
        return [int(path.read_text())]
    except (OSError, ValueError):  # "max" is no limit
        return []


def _physical_memory() -> int:
    if not hasattr(os, "sysconf"):  # Windows does not tell; most machines that train have as much
        return 8 * 2**30
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
