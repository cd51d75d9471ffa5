"""Makes the reference cases: small modules of diffusers and transformers, with seeded weights, run on the CPU.

    python generate.py                     write every case under cases/
    python generate.py --only Conv3d       only the cases whose module/name contains, or matches, the pattern
    python generate.py --list              names only
    python generate.py --check             make them again in a temporary folder and compare with cases/
    python generate.py --large             the true-width cases instead, under cases-large/ (gigabytes)
    python generate.py --trace             with what every submodule gave (hooks.py), under cases-trace/
"""

import argparse
import dataclasses
import sys
import tempfile
from fnmatch import fnmatch
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from case import Case, compare, write
from hooks import MODULES as TRACED_MODULES

HERE = Path(__file__).resolve().parent
FAMILIES = (
    "ops",
    "random",
    "scheduler",
    "transformer",
    "vae",
    "t5",
    "tokenizer",
    "pipeline",
    "fuzz",
    "overflow",
    "stored",
    "gradient",
    "training",
    "losses",
    "vae_training",
    "transnet",
)


def all_cases() -> list[Case]:
    cases = [case for family in FAMILIES for case in import_module(f"families.{family}").CASES]
    ids = [case.id for case in cases]
    if len(ids) != len(set(ids)):
        raise ValueError(f"two cases share a name: {sorted(i for i in set(ids) if ids.count(i) > 1)}")
    return cases


def matches(case: Case, pattern: str | None) -> bool:
    return pattern is None or pattern in case.id or fnmatch(case.id, pattern)


def make(cases: list[Case], out: Path) -> None:
    total = 0
    for case in cases:
        with torch.no_grad():
            size = write(case, case.build(case), case.path(out))
        total += size
        print(f"{size:>10,}  {case.id}", flush=True)
    print(f"{total:>10,}  bytes in {len(cases)} cases")


def check(cases: list[Case], committed: Path, whole: bool) -> int:
    """Returns the number of cases that differ; `whole` also reports committed files that no case makes."""
    bad = 0
    identical = 0
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            want, got = case.path(committed), case.path(Path(folder))
            with torch.no_grad():
                write(case, case.build(case), got)
            differences = compare(want, got) if want.exists() else ["not committed"]
            identical += want.exists() and want.read_bytes() == got.read_bytes()
            bad += bool(differences)
            for line in differences:
                print(f"{case.id}: {line}")
            got.unlink()
    if whole:
        known = {case.path(committed) for case in cases}
        for path in sorted(set(committed.rglob("*.safetensors")) - known):
            bad += 1
            print(f"{path.relative_to(committed)}: no case makes this file")
    print(f"{len(cases)} cases: {identical} identical to the byte, {bad} differ beyond the tolerance")
    return bad


def other_versions() -> list[str]:
    """What is installed in another version than the committed cases were made with."""
    found = []
    for line in (HERE / "requirements.txt").read_text().splitlines():
        name, pinned, want = line.partition("==")
        if not pinned or name.startswith("#"):
            continue
        try:
            got = version(name).split("+")[0]
        except PackageNotFoundError:
            got = "none"
        if got != want:
            found.append(f"{name} {got} is installed, the committed cases are made with {want}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where to write (default: cases/, cases-large/ or cases-trace/ beside this file)")
    parser.add_argument("--only", metavar="PATTERN", help="a part of module/name, or a shell pattern")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--large", action="store_true", help="the true-width cases instead of the small ones")
    parser.add_argument("--trace", action="store_true", help="keep what every submodule gave")
    parser.add_argument("--check", action="store_true", help="regenerate and compare with what is there")
    arguments = parser.parse_args()

    for line in other_versions():
        print(line, file=sys.stderr)

    # One thread and fixed algorithms: a sum that is split differently ends in other bits.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    cases = [case for case in all_cases() if case.large == arguments.large and matches(case, arguments.only)]
    if arguments.trace:
        cases = [dataclasses.replace(case, trace=True) for case in cases if case.module in TRACED_MODULES]
    if not cases:
        parser.error(f"no case matches {arguments.only}")
    folder = "cases" + "-large" * arguments.large + "-trace" * arguments.trace
    out = arguments.out or HERE / folder
    if arguments.list:
        print("\n".join(case.id for case in cases))
        return 0
    if arguments.check:
        return 1 if check(cases, out, whole=arguments.only is None and folder == "cases") else 0
    make(cases, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
