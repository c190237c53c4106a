"""Train plain neural networks on CIFAR-10 from the command line, every gradient checked.

The Python API: `train`, `load`, `load_data`, and the types of what they take and return. See
docs/api.md. Each name is imported when it is used: `import mlpcli` alone loads no NumPy.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "Config",
    "Data",
    "EpochResult",
    "FinishedRun",
    "MlpcliError",
    "__version__",
    "load",
    "load_data",
    "train",
]

if TYPE_CHECKING:
    from mlpcli.api import Classifier, Data, FinishedRun, load, load_data, train
    from mlpcli.config.settings import Config
    from mlpcli.errors import MlpcliError
    from mlpcli.training.trainer import EpochResult
else:  # hidden from type checkers, which would take any name for one of the package
    # The names that are not defined in `mlpcli.api`.
    _MODULES = {
        "Config": "mlpcli.config.settings",
        "EpochResult": "mlpcli.training.trainer",
        "MlpcliError": "mlpcli.errors",
    }

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'mlpcli' has no attribute '{name}'")
        value = getattr(importlib.import_module(_MODULES.get(name, "mlpcli.api")), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
