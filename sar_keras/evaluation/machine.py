"""What machine this is, and how it gives out memory; without loading TensorFlow."""

import contextlib
import ctypes
import os
import platform
from pathlib import Path


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def give_memory_back() -> None:
    """Have glibc return arrays of 8 MB and more to the system when they are freed; without glibc do nothing.

    By itself it raises that size up to 32 MB, and then keeps what oneDNN frees at every training step. What the user
    has set stays.
    """
    if "MALLOC_MMAP_THRESHOLD_" in os.environ or "mmap_threshold" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    m_mmap_threshold = -3  # https://man7.org/linux/man-pages/man3/mallopt.3.html
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(m_mmap_threshold, 8 << 20)
