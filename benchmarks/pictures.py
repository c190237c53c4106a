"""Makes the pictures in docs/images, from real runs on CIFAR-10.

    MLPCLI_DATA_DIR=… PYTHONPATH=tests python benchmarks/pictures.py     (make pictures)

`report.png` and `sweep.png` are the tops of what `mlpcli report` writes of `configs/fast.yaml`,
with 5,000 images held out for its curves, and of `configs/sweep.yaml`, as Chromium shows them.
`learning_curves.svg` is drawn from results.json, as `make results` recorded it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from browser import browser
from results import CONFIGS, PICTURE, PICTURES, RESULTS, draw

MLPCLI = [sys.executable, "-m", "mlpcli"]
WIDTH = 1160  # pixels; a picture is as high as what is worth showing
SHOWN = {"report": 1405, "sweep": 1080}


def run(*arguments: str, cwd: Path) -> None:
    subprocess.run([*MLPCLI, *arguments], cwd=cwd, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    PICTURE.write_text(draw(json.loads(RESULTS.read_text())))
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        home = Path(folder)
        run("train", str(CONFIGS / "fast.yaml"), "--set", "data.val_size=5000", cwd=home)
        run("report", "runs/fast-1", "--out", "report.html", cwd=home)
        run("sweep", str(CONFIGS / "sweep.yaml"), cwd=home)
        run("report", "runs/sweep", "--out", "sweep.html", cwd=home)
        for name, height in SHOWN.items():
            chromium.open(home / f"{name}.html", WIDTH, height)
            (PICTURES / f"{name}.png").write_bytes(chromium.screenshot())


if __name__ == "__main__":
    main()
