"""Runs as an HTML page.

What it shows depends on nothing that the user has set for other programs: matplotlib is imported
here first, without their variables and their matplotlibrc.
"""

import contextlib
import logging
import os
from pathlib import Path

for _variable in ("MPLBACKEND", "SOURCE_DATE_EPOCH"):
    os.environ.pop(_variable, None)
os.environ["MATPLOTLIBRC"] = os.devnull  # in place of the one in the user's folders
# Its warnings are of folders for its cache; it makes a temporary one where it may not write.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
_has_settings = Path("matplotlibrc").exists()  # that of the current folder comes before all others
with contextlib.chdir(os.sep) if _has_settings else contextlib.nullcontext():
    import matplotlib  # noqa: F401
