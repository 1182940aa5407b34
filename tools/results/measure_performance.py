"""Measures what performance.py shows: runs `kvkeep bench` and writes results/bench-*.json.

usage: measure_performance.py [--all] [NAME...]      (after ./dev build; without NAME every set)

Some minutes each, on a machine that does nothing else. A set whose file was measured with this very
build is left as it is, so a run that was cut goes on where it stopped; --all measures it again.
Rivals take part in the whole-engine runs where ./dev bench --setup-rivals has installed them.
"""

import glob
import hashlib
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
RESULTS = os.path.join(ROOT, "results")
KVKEEP = os.path.join("build", "release", "kvkeep")
RIVAL_PYTHON = os.path.join("build", "rivals", "bin", "python")

SETS = {  # results/bench-NAME.json; True: beside the rivals
    "attention": (["attention", "-t", "1,2"], False),
    "attention-contexts": (["attention", "--context", "1K,4K,64K,128K", "--gqa", "1,4,8",
                            "--layouts", "f16,u4,u2", "--rounds", "7"], False),
    "memory": (["memory", "-t", "1,2"], False),
    "compress": (["compress"], False),
    "decode": (["decode", "-t", "1"], True),
    "decode-random": (["decode", "--random", "-t", "1"], True),
    "decode-steal": (["decode", "--random", "-t", "2", "--depths", "0,4K",
                      "--plans", "f16 q4_0 mikv", "--steal"], False),
}


def path_of(name):
    return os.path.join(RESULTS, f"bench-{name}.json")


def build_digest():
    with open(os.path.join(ROOT, KVKEEP), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def rivals():
    if not os.path.exists(os.path.join(ROOT, RIVAL_PYTHON)):
        return []
    scripts = sorted(glob.glob("bench/baselines/rival_*.py", root_dir=ROOT))
    return [part for script in scripts for part in ("--rival", f"{RIVAL_PYTHON} {script}")]


def is_measured(name, build):
    try:
        with open(path_of(name), encoding="utf-8") as file:
            result = json.load(file)
    except (OSError, ValueError):
        return False
    return result.get("build") == build and not result["interrupted"]


def measure(name, build):
    arguments, beside_rivals = SETS[name]
    start = time.monotonic()
    done = subprocess.run([KVKEEP, "bench", *arguments, *(rivals() if beside_rivals else []),
                           "--json"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    result = json.loads(done.stdout)
    result["build"] = build
    os.makedirs(RESULTS, exist_ok=True)
    with open(path_of(name), "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)


def main(arguments):
    again = "--all" in arguments
    names = [name for name in arguments if name != "--all"]
    unknown = [name for name in names if name not in SETS]
    if unknown:
        sys.exit(f"measure_performance.py: no set {unknown[0]}; allowed: {', '.join(SETS)}")
    build = build_digest()
    for name in names or SETS:
        if not again and is_measured(name, build):
            print(f"{name}: measured with this build already", file=sys.stderr)
        else:
            measure(name, build)


if __name__ == "__main__":
    main(sys.argv[1:])
