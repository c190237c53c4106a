"""The number of BLAS threads, and a description of the environment that results depend on.

NumPy is imported inside functions: the number of threads has to be set before it loads.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import platform
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from mlpcli import __version__

log = logging.getLogger(__name__)

THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
OPENBLAS_VARIABLES = THREAD_VARIABLES[:3]  # those that OpenBLAS reads, in its order


# Keys of `describe()` that the last bits of a result depend on.
BITS_DEPEND_ON = ("mlpcli", "numpy", "blas", "threads", "processor", "simd")

CONFIGURED = "threads of the configuration"
IMPORTED = "NumPy was imported before mlpcli could set them"
_reason = IMPORTED  # why this process has its number of threads, for `describe()`


def usable_cores(root: Path = Path("/")) -> tuple[int, str]:
    """Return how many cores this process may use, and what limits them.

    That is the number that it may run on, or less where its control group, or one above it, has a
    quota of processor time: rounded, so 1.5 cores count as 2 and 0.4 as 1. `root` is where `/proc`
    and `/sys` are.
    """
    number = _allowed_cores()
    quota = min(_quotas(root), default=float(number))
    if quota < number:
        return max(1, int(quota + 0.5)), f"a cgroup quota of {quota:g} cores"
    return number, f"usable cores: {number}"


def _allowed_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quotas, in cores, of this process's control groups and of those above them.

    In a container its own group may be the root of what is mounted, while /proc names it by its
    path on the host: folders of that path which are missing are passed over.
    """
    mounts = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            folders = [mounts, mounts / "unified"]
        elif "cpu" in controllers.split(","):
            folders = [mounts / controllers, mounts / "cpu"]
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for length in range(len(parts) + 1):
            for folder in folders:
                group = folder.joinpath(*parts[:length])
                text = (
                    _text(group / "cpu.max")
                    if not controllers
                    else (
                        f"{_text(group / 'cpu.cfs_quota_us')} {_text(group / 'cpu.cfs_period_us')}"
                    )
                )
                # Without a quota: "max 100000" or "-1 100000".
                if match := re.fullmatch(r"(\d{1,15})\s+([1-9]\d{0,14})\s*", text, re.ASCII):
                    yield int(match[1]) / int(match[2])


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except (OSError, ValueError):  # of a path with a null character
        return ""


def chosen_threads(number: int | None, default: int | None = None) -> tuple[int, str]:
    """Return the number of BLAS threads, and why: what is configured, what the user's variables
    say, or the `default`, or every usable core.
    """
    if number is not None:
        return number, CONFIGURED
    for variable in THREAD_VARIABLES:
        if value := _variable(variable):
            return value, variable
    return usable_cores() if default is None else (default, "the default")


def _variable(name: str) -> int:
    """Return what a variable of the user says, as OpenBLAS reads it; 0 for nothing."""
    match = re.match(r"\s*\+?0*(\d{1,4})(?!\d)", os.environ.get(name, ""), re.ASCII)
    return int(match[1]) if match else 0


def set_threads(number: int | None, default: int | None = None) -> AbstractContextManager[Any]:
    """Set the threads of every BLAS that NumPy may be built on, to what `chosen_threads` returns.

    Once NumPy is imported, None changes nothing and a number needs threadpoolctl: without it a
    warning says so. The context that is returned, if it is entered, undoes this on leaving.
    Raises OSError where the system does not allow so many threads.
    """
    global _reason  # noqa: PLW0603 - as the variables, it is this process's
    if "numpy" not in sys.modules:
        chosen, _reason = chosen_threads(number, default)
        log.debug("BLAS threads: %s (%s)", chosen, _reason)
        _require_startable(min(chosen, _allowed_cores()))  # OpenBLAS starts no more
        for variable in THREAD_VARIABLES:
            os.environ[variable] = str(chosen)
        return contextlib.nullcontext()
    _reason = IMPORTED if number is None else CONFIGURED
    if number is not None and number != (found := threads()):
        try:
            from threadpoolctl import threadpool_limits
        except ModuleNotFoundError:
            _reason = IMPORTED
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


def _require_startable(number: int) -> None:
    """Raise OSError unless so many threads can run at once, the one that is there among them.

    OpenBLAS, where it cannot start its threads, sends the process SIGINT, as Ctrl-C does.
    """
    done, started = threading.Event(), []
    try:
        for _ in range(number - 1):
            thread = threading.Thread(target=done.wait)
            thread.start()
            started.append(thread)
    except RuntimeError:
        raise OSError(
            errno.EAGAIN,
            f"{number} BLAS threads cannot be started: the system allows this process "
            f"{len(started) + 1} (ulimit -u, or a limit on memory); set {THREAD_VARIABLES[0]}="
            f"{len(started) + 1}",
        ) from None
    finally:
        done.set()
        for thread in started:
            thread.join()


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
        "threads_from": _reason,
        "processor": _processor(),
        "simd": " ".join(config.get("SIMD Extensions", {}).get("found", [])[-1:]),
        "platform": platform.platform(),
    }


def threads() -> int:
    """Return the number of BLAS threads: what threadpoolctl finds in a loaded NumPy, if it can.

    Else it is what the environment sets, or the number of cores that the process may run on.
    """
    if "numpy" in sys.modules:
        with contextlib.suppress(ModuleNotFoundError):
            from threadpoolctl import threadpool_info

            for library in threadpool_info():  # NumPy's comes first, in the order of loading
                if library["user_api"] == "blas":
                    return int(library["num_threads"])
    return next(filter(None, map(_variable, OPENBLAS_VARIABLES)), _allowed_cores())


def _processor() -> str:
    """Return the model name of the processor on Linux, else what `platform` reports."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
