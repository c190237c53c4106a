"""Try the mutants of each file, or some of them, and print the table."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from mutants import ROOT, Copy
from mutants.changes import Mutant, mutants
from mutants.equivalent import EQUIVALENT
from mutants.runner import Runner

REQUIRED = 0.95  # of the mutants of each file

# Files whose mutants are tried unless others are named.
FILES = (
    *sorted(
        path.relative_to(ROOT / "mlpcli").as_posix()
        for folder in ("nn", "data", "training", "gradcheck")
        for path in (ROOT / "mlpcli" / folder).glob("*.py")
    ),
    "metrics.py",
    "runs/checkpoint.py",
    "runs/inference.py",
    "runs/seeds.py",
)


def judged(file: str, mutant: Mutant) -> bool:
    """Whether a mutant is listed as equivalent."""
    return mutant.change in EQUIVALENT.get(file, {})


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("files", nargs="*", default=FILES, help="as in nn/losses.py")
    parser.add_argument("--sample", type=int, help="mutants of each file, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of what is random")
    chosen = parser.parse_args()
    print("| file | mutants | equivalent | tried | noticed | | seconds |")
    print("|---|---|---|---|---|---|---|", flush=True)
    ok = True
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        runner = Runner(Copy(Path(folder)))
        for file in chosen.files:
            start = time.monotonic()
            source = (ROOT / "mlpcli" / file).read_text()
            found = mutants(source)
            tried = [mutant for mutant in found if not judged(file, mutant)]
            equivalent = len(found) - len(tried)
            if chosen.sample is not None and chosen.sample < len(tried):
                tried = random.Random(chosen.seed).sample(tried, chosen.sample)
            if not tried:
                continue
            runner.require_that_tests_pass(file)
            survivors = [m for m in tried if not runner.notices(file, m.source)]
            noticed = len(tried) - len(survivors)
            share, seconds = noticed / len(tried), time.monotonic() - start
            print(
                f"| {file} | {len(found)} | {equivalent} | {len(tried)} | {noticed} "
                f"| {share:.0%} | {seconds:.0f} |",
                flush=True,
            )
            for mutant in survivors:
                print(f"mlpcli/{file}:{mutant.line}: {mutant.change}", file=sys.stderr, flush=True)
            ok = ok and share >= REQUIRED
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
