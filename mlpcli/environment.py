"""The machine: how many threads BLAS may use, and a description of all that results depend on.

Imports no NumPy at the top: a thread count counts only if it is set before NumPy loads.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

from mlpcli import __version__

THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


# What the last bits of a result depend on.
BITS_DEPEND_ON = ("mlpcli", "numpy", "blas", "threads", "processor", "simd")


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(threads: int | None) -> None:
    """Fix the threads of every BLAS that NumPy may be built on; None means every usable core.

    Works only before NumPy is imported for the first time, and does nothing after.
    """
    if "numpy" not in sys.modules:
        for variable in THREAD_VARIABLES:
            os.environ[variable] = str(threads or usable_cores())


def describe() -> dict[str, Any]:
    """Return versions, BLAS, threads and processor, as `environment.json` keeps them."""
    import numpy as np

    config = np.show_config(mode="dicts")
    blas = config["Build Dependencies"]["blas"]
    return {
        "mlpcli": __version__,
        "python": platform.python_version(),
        "numpy": importlib.metadata.version("numpy"),
        "blas": f"{blas['name']} {blas['version']}",
        "threads": threads(),
        "processor": _processor(),
        "simd": " ".join(config["SIMD Extensions"].get("found", [])[-1:]),
        "platform": platform.platform(),
    }


def threads() -> int:
    """Return what BLAS was told, or every usable core where it was told nothing sensible."""
    told = os.environ.get(THREAD_VARIABLES[0], "")
    return int(told) if told.isdecimal() and int(told) else usable_cores()


def _processor() -> str:
    """Return the processor's own name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
