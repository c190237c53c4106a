"""Try every fault and attack, as often as the table demands, and print the table."""

from __future__ import annotations

import argparse
import sys
import time

from faults import ROWS, attempt


def main() -> int:
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=sorted(ROWS), choices=sorted(ROWS))
    parser.add_argument("--seed", type=int, default=0, help="of what is random")
    chosen = parser.parse_args()
    print("| row | fault or attack | cases | failures | seconds |")
    print("|---|---|---|---|---|", flush=True)
    ok = True
    for number in chosen.rows:
        row, start = ROWS[number], time.monotonic()
        outcome = attempt(row, None if row.whole else row.required, chosen.seed)
        cases = f"skipped: {outcome.skipped}" if outcome.skipped else f"{outcome.cases:,}"
        seconds = time.monotonic() - start
        print(
            f"| {number} | {row.fault} | {cases} | {len(outcome.failures)} | {seconds:.0f} |",
            flush=True,
        )
        for failure in outcome.failures[:10]:
            print(f"row {number}: {failure}", file=sys.stderr)
        enough = bool(outcome.skipped) or outcome.cases >= row.required
        if not enough:
            print(f"row {number}: {outcome.cases} cases, not {row.required}", file=sys.stderr)
        ok = ok and enough and not outcome.failures
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
