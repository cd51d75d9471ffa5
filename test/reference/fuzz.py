"""Makes random reference cases; `npm run fuzz` runs them on the engine afterwards.

    python fuzz.py --out FOLDER --count 200 --seed 1
    python fuzz.py --out FOLDER --seed 1 --index 17     one of them again
    python fuzz.py --out FOLDER --kind gradients        of modules that are trained, with cotangents and gradients; or training, runs

What the reference itself refuses is no case: it is told in FOLDER/refused.json, config and message.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

import torch

from case import write
from families.fuzz import draw, draw_gradients, draw_training

KINDS = {"cases": draw, "gradients": draw_gradients, "training": draw_training}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--index", type=int, help="this one only")
    parser.add_argument("--kind", choices=KINDS, default="cases")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    refused, made, total = [], Counter(), 0
    for index in range(arguments.count) if arguments.index is None else [arguments.index]:
        case = KINDS[arguments.kind](arguments.seed, index)
        try:
            with torch.no_grad():
                total += write(case, case.build(case), case.path(arguments.out))
            made[case.module] += 1
        except Exception as error:  # whatever the reference throws at what it does not take
            refused.append({"case": case.id, "error": f"{type(error).__name__}: {error}"})
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "refused.json").write_text(json.dumps(refused, indent=2) + "\n")
    print(f"{made.total()} cases of {len(made)} modules, {total:,} bytes; {len(refused)} refused by the reference")
    for entry in refused:
        print(f"  {entry['case']}: {entry['error'].splitlines()[0][:150]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
