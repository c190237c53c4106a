"""The number of BLAS threads, and a description of the environment that results depend on.

NumPy is imported inside functions: the number of threads has to be set before it loads.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import warnings
from contextlib import AbstractContextManager
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


def set_threads(number: int | None) -> AbstractContextManager[Any]:
    """Set the threads of every BLAS that NumPy may be built on; None means every usable core.

    Once NumPy is imported, None changes nothing and a number needs threadpoolctl: without it a
    warning says so. The context that is returned, if it is entered, undoes this on leaving.
    """
    if "numpy" not in sys.modules:
        for variable in THREAD_VARIABLES:
            os.environ[variable] = str(number or usable_cores())
    elif number is not None and number != (found := threads()):
        try:
            from threadpoolctl import threadpool_limits
        except ModuleNotFoundError:
            warnings.warn(
                f"NumPy was imported before mlpcli could set its threads: it has {found}, not "
                f"{number}; pip install threadpoolctl, or set {THREAD_VARIABLES[0]}={number} "
                f"before Python starts",
                RuntimeWarning,
                stacklevel=3,
            )
        else:
            return threadpool_limits(number, user_api="blas")
    return contextlib.nullcontext()


def describe() -> dict[str, Any]:
    """Return versions, BLAS, threads and processor, as saved in `environment.json`."""
    import numpy as np

    config = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})  # some builds do not say
    name, version = blas.get("name") or "unknown", blas.get("version") or ""
    return {
        "mlpcli": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": f"{name} {version}".strip(),
        "threads": threads(),
        "processor": _processor(),
        "simd": " ".join(config.get("SIMD Extensions", {}).get("found", [])[-1:]),
        "platform": platform.platform(),
    }


def threads() -> int:
    """Return the number of BLAS threads: what threadpoolctl finds in a loaded NumPy, if it can.

    Else it is what the environment sets, or the number of usable cores.
    """
    if "numpy" in sys.modules:
        with contextlib.suppress(ModuleNotFoundError):
            from threadpoolctl import threadpool_info

            for library in threadpool_info():  # NumPy's comes first, in the order of loading
                if library["user_api"] == "blas":
                    return int(library["num_threads"])
    for variable in THREAD_VARIABLES[:2]:  # those that OpenBLAS reads, in its order
        value = os.environ.get(variable, "")
        if value.isdecimal() and int(value):
            return int(value)
    return usable_cores()


def _processor() -> str:
    """Return the model name of the processor on Linux, else what `platform` reports."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
