"""``python -m benchmarks.study``: run the study of when to poll, and write ``docs/when-to-ask.json`` and what shows it.

``--short`` runs everything at a small size to check that the study works. It writes nothing.

All figures but those in "measured" are the same in each run: every draw has a seed, and every hash. Those in "measured"
are times of this machine, and waits in real sessions.
"""

from __future__ import annotations

import argparse
import json

from benchmarks.study import tables
from benchmarks.study.experiments import MEASURED, SIMULATED, run
from benchmarks.study.sizes import FULL, SHORT


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description=__doc__)
    parser.add_argument("--short", action="store_true", help="use small sizes; write nothing")
    every = [*SIMULATED, *MEASURED]
    parser.add_argument("--only", choices=every, metavar="NAME", help=f"print one experiment: {', '.join(every)}")
    arguments = parser.parse_args()
    sizes = SHORT if arguments.short else FULL
    report = run(sizes, [arguments.only] if arguments.only else every)
    if arguments.only:
        print(json.dumps(report, indent=1, ensure_ascii=False))
    elif arguments.short:
        tables.table(report)
    else:
        tables.save(report)
        tables.write(report)


if __name__ == "__main__":
    main()
