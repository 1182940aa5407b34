"""Measures what quality.py shows: runs `kvkeep eval` and writes results/eval-*.json.

usage: measure_quality.py suite | uniform | keys | at-bytes | tasks | selectors | variants |
                          sensitivity
       (after ./dev build)

Minutes to an hour on two cores. Tasks run one by one, the sensitivity grid plan by plan, and the
file is written after each: started again, a measurement goes on where it stopped.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile

import common

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
RESULTS = os.path.join(ROOT, "results")
KVKEEP = os.path.join("build", "release", "kvkeep")

MAIN = ["f16", "mikv-4", "mikv", "mikv-c", "mikv-int8", "mikv-int4", "rtn2", "h2o", "snapkv",
        "streaming", "random"]
SETS = {  # tasks, then options
    "suite": ("kld lines passkey ppl",
              ["--limit", "4096", "--samples", "10", "--plans", " ".join(MAIN)]),
    "uniform": ("kld lines", ["--limit", "4096", "--samples", "10", "--plans",
                              "f16 q8_0 q4_0 rtn4 rtn3"]),
    "keys": ("kld lines", ["--limit", "4096", "--samples", "10", "--plans",
                           "f16 rtn2:low.k=u4 rtn2:low.k=u3 mikv-int4:low.k=u4 "
                           "mikv-int8:keep=0.1,low.k=u4"]),
    "at-bytes": ("lines kld passkey",
                 ["--at-bytes", "35%", "--limit", "4096", "--samples", "10", "--plans",
                  "f16 mikv mikv-c mikv-c:low=u3 mikv-int8 h2o snapkv streaming random"]),
    "selectors": ("kld lines passkey kv_recall",
                  ["--limit", "4096", "--samples", "10", "--plans",
                   "f16 mikv h2o snapkv tova morphkv scissorhands knorm keydiff expected bumblebee "
                   "streaming random pyramidkv adakv"]),
    "variants": ("kld lines", ["--limit", "4096", "--samples", "10", "--plans",
                               "mikv:budget=pyramid mikv:budget=ada morphkv:quota=growing "
                               "expected:recent=0.5"]),
    "tasks": ("needle multi_needle kv_recall copy variable_tracking generate",
              ["--samples", "10", "--plans", "f16 mikv-4 mikv mikv-c rtn2 h2o"]),
}
GRID = {"scorer": ["h2o", "snapkv"], "keep": [0.1, 0.2, 0.4], "bits": [2, 3, 4], "group": [32, 64]}
GRID_ARGS = ["--limit", "2048"], ["--limit", "5"]  # of kld, of lines


def evaluate(arguments):
    """The JSON of one call; its progress goes to stderr."""
    done = subprocess.run([KVKEEP, "eval", *arguments, "--json"], cwd=ROOT, check=True,
                          stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def write(name, result):
    os.makedirs(RESULTS, exist_ok=True)
    path = os.path.join(RESULTS, name)
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1, ensure_ascii=False)
        file.write("\n")
    os.replace(path + ".part", path)


def add(name, arguments, found):
    """The file's result with the rows of one more call, written."""
    rows = (common.load(RESULTS, name) or {"results": []})["results"]
    command = f"tools/results/measure_quality.py {arguments}"
    write(name, {**found, "command": command, "results": rows + found["results"]})


def known(name, key):
    """What the file already has, by a function of a row."""
    return {key(row) for row in (common.load(RESULTS, name) or {"results": []})["results"]}


def by_task(name, which):
    tasks, options = SETS[which]
    for task in tasks.split():
        if task not in known(name, lambda row: row["task"]):
            add(name, which, evaluate(["--tasks", task, *options]))


def grid_plans():
    for scorer, keep, bits, group in itertools.product(*GRID.values()):
        layout = f"u{bits}g{group}"
        yield (f"scorer={scorer};budget=uniform:keep={keep};high=f16;"
               f"low=rtn:k={layout},v={layout};transform=none")


def sensitivity(name):
    with tempfile.TemporaryDirectory() as folder:
        reference = os.path.join(folder, "f16.kld")
        evaluate(["--tasks", "kld", "--plans", "f16", *GRID_ARGS[0], "--kld-save", reference])
        more = {"kld": [*GRID_ARGS[0], "--kld-ref", reference], "lines": GRID_ARGS[1]}
        for plan, task in itertools.product(grid_plans(), more):
            if (plan, task) not in known(name, lambda row: (row["preset"], row["task"])):
                add(name, "sensitivity",
                    evaluate(["--tasks", task, "--plans", plan, *more[task]]))


def main(arguments):
    if len(arguments) != 1 or arguments[0] not in [*SETS, "sensitivity"]:
        sys.exit(__doc__)
    name = f"eval-{arguments[0]}.json"
    if arguments[0] == "sensitivity":
        sensitivity(name)
    else:
        by_task(name, arguments[0])


if __name__ == "__main__":
    main(sys.argv[1:])
