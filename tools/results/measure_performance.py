"""Measures what performance.py shows: runs `kvkeep bench` and writes results/bench-*.json.

usage: measure_performance.py [NAME...]      (after ./dev build; without NAME all of them)

Some minutes each, on a machine that does nothing else. llama.cpp takes part in the whole-engine
runs where ./dev bench --setup-rivals has installed it.
"""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
RESULTS = os.path.join(ROOT, "results")
KVKEEP = os.path.join("build", "release", "kvkeep")
RIVAL_PYTHON = os.path.join("build", "rivals", "bin", "python")
RIVAL = ["--rival", f"{RIVAL_PYTHON} bench/baselines/llama_cpp.py"]

SETS = {  # results/bench-NAME.json; True: beside the rival
    "attention": (["attention", "-t", "1,2"], False),
    "attention-contexts": (["attention", "--context", "1K,4K,16K,64K,128K", "--gqa", "1,4,8",
                            "--layouts", "f16,u4,u2"], False),
    "memory": (["memory", "-t", "1,2"], False),
    "compress": (["compress"], False),
    "decode": (["decode", "-t", "1"], True),
    "decode-random": (["decode", "--random", "-t", "1", "--steps", "2"], True),
    "decode-steal": (["decode", "--random", "-t", "2", "--steps", "8", "--depths", "0,4K",
                      "--plans", "f16 q4_0 mikv", "--steal"], True),
}


def measure(name):
    arguments, beside_rival = SETS[name]
    rival = RIVAL if beside_rival and os.path.exists(os.path.join(ROOT, RIVAL_PYTHON)) else []
    done = subprocess.run([KVKEEP, "bench", *arguments, *rival, "--json"], cwd=ROOT, check=True,
                          stdout=subprocess.PIPE)
    os.makedirs(RESULTS, exist_ok=True)
    with open(os.path.join(RESULTS, f"bench-{name}.json"), "wb") as file:
        file.write(done.stdout)


def main(names):
    unknown = [name for name in names if name not in SETS]
    if unknown:
        sys.exit(f"measure_performance.py: no set {unknown[0]}; allowed: {', '.join(SETS)}")
    for name in names or SETS:
        print(f"measuring {name}", file=sys.stderr)
        measure(name)


if __name__ == "__main__":
    main(sys.argv[1:])
