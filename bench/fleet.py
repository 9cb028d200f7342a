"""What the fleet is worth, in figures. Each part stands beside what it is to be compared with, in the same run.

    python bench/fleet.py [push load proxies affinity stop overload] [--quick]

Without a name all parts run, with what they take by default; a part that is named alone takes options of its own (`--help`
behind its name tells them). Exit status 1: a goal was missed; 2: a run broke.
"""

import argparse
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import fleet_affinity
import fleet_load
import fleet_overload
import fleet_proxies
import fleet_push
import fleet_stop
from fleet_goals import Goal
from harness import OUT, FailedRunError, SkippedError, keep, machine

PARTS: dict[str, ModuleType] = {
    "push": fleet_push,
    "load": fleet_load,
    "proxies": fleet_proxies,
    "affinity": fleet_affinity,
    "stop": fleet_stop,
    "overload": fleet_overload,
}

QUICK = {
    "push": "--jobs 100 --polled-jobs 10 --seconds 1",
    "load": "--repeats 1 --seconds 1.5",
    "proxies": "--repeats 1 --seconds 2",
    "affinity": "--conversations 8 --turns 4 --repeats 1",
    "stop": "--stops 20",
    "overload": "--seconds 4",
}


def main(words: list[str]) -> int:
    names = [word for word in words if word in PARTS]
    options = [word for word in words if word not in PARTS]
    common = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, add_help=not names
    )
    common.add_argument("--quick", action="store_true", help="a short form of each part")
    common.add_argument("--out", type=Path, default=OUT, help="where the figures go, as JSON")
    given, rest = common.parse_known_args(options)
    if rest and len(names) != 1:
        common.error(f"{rest[0]} belongs to one part: name it, and that part alone")
    here = machine()
    print(
        f"{here['processor']}, {here['cores']} cores, Python {here['python']}, load {here['load_average']:.1f}"
    )
    told: list[Goal] = []
    broken = False
    for name in names or list(PARTS):
        part = PARTS[name]
        parser = argparse.ArgumentParser(
            f"fleet.py {name}",
            description=part.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        part.arguments(parser)
        print(flush=True)
        try:
            asked = parser.parse_args([*(QUICK[name].split() if given.quick else ()), *rest])
            found: dict[str, Any]
            found, goals = part.measure(asked)
        except SkippedError as why:
            print(f"  skipped  {name}: {why}")
            continue
        except FailedRunError as error:
            print(f"{name}: {error}", file=sys.stderr)
            broken = True
            continue
        told += goals
        summed = [{"goal": goal.sentence, "met": goal.met} for goal in goals]
        keep(given.out, f"fleet_{name}", {**found, "goals": summed})
    print()
    for goal in told:
        print(f"  {'met    ' if goal.met else 'NOT MET'}  {goal.sentence}")
    print(f"\nEvery figure: {given.out}/fleet_*.json")
    return 2 if broken else 0 if all(goal.met for goal in told) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
