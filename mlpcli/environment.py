"""The number of BLAS threads, and a description of the environment that results depend on.

NumPy is imported inside functions: the number of threads has to be set before it loads.
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


# Keys of `describe()` that the last bits of a result depend on.
BITS_DEPEND_ON = ("mlpcli", "numpy", "blas", "threads", "processor", "simd")


def usable_cores() -> int:
    """Return the number of cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(threads: int | None) -> None:
    """Set the threads of every BLAS that NumPy may be built on; None means every usable core.

    Does nothing once NumPy is imported.
    """
    if "numpy" not in sys.modules:
        for variable in THREAD_VARIABLES:
            os.environ[variable] = str(threads or usable_cores())


def describe() -> dict[str, Any]:
    """Return versions, BLAS, threads and processor, as saved in `environment.json`."""
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
    """Return the number of BLAS threads that is set, or of usable cores if none valid is set."""
    value = os.environ.get(THREAD_VARIABLES[0], "")
    return int(value) if value.isdecimal() and int(value) else usable_cores()


def _processor() -> str:
    """Return the model name of the processor on Linux, else what `platform` reports."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
