"""Measures what crush.py shows: representatives at equal bytes, into results/eval-crush.json.

usage: measure_crush.py [TASK...]      (after ./dev build; all tasks of TASKS without arguments)

For every task, budget and base one call of `kvkeep eval --at-bytes`, as many side by side as there
are processors, written as it comes: started again, the measurement goes on where it stopped.
KVKEEP_MINUTES=8 begins nothing new after that many; delete the file to measure anew.
"""

import concurrent.futures
import itertools
import os
import sys
import time

import common
import measure_quality

NAME = "eval-crush.json"
BASES = ["h2o", "snapkv", "tova"]
BUDGETS = ["20%", "50%", "10%", "30%"]
ANCHORS = ["random", "mean", "alternate", "zeros", "ones"]
CHOICES = ["none", "random"] + [f"kvcrush:anchor={anchor}" for anchor in ANCHORS]
TASKS = {"kld": ["--limit", "2048"], "kv_recall": ["--samples", "4"], "lines": ["--samples", "4"],
         "passkey": ["--samples", "10"]}


def key(row):
    return row["task"], row["budget"], row["base"]


def plans(base):
    """Every choice on one base; parameters of the slot by its name, since a comma ends a plan's."""
    for choice in CHOICES:
        method, _, parameter = choice.partition(":")
        more = f",representatives.{parameter}" if parameter else ""
        yield f"{base}:representatives={method}{more}"


def rows():
    return (common.load(measure_quality.RESULTS, NAME) or {"results": []})["results"]


def measure(task, budget, base, end):
    if time.monotonic() > end or (task, budget, base) in {key(row) for row in rows()}:
        return
    found = measure_quality.evaluate(["--tasks", task, *TASKS[task], "--at-bytes", budget,
                                      "--plans", " ".join(plans(base))])
    for row, plan in zip(found["results"], plans(base)):
        row.update({"budget": budget, "base": base, "preset": plan})
    with measure_quality.WRITING:
        measure_quality.write(NAME, {**found, "command": "tools/results/measure_crush.py",
                                     "results": rows() + found["results"]})


def main(arguments):
    end = time.monotonic() + 60 * float(os.environ.get("KVKEEP_MINUTES", "1e9"))
    cells = list(itertools.product(arguments or TASKS, BUDGETS, BASES))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in [pool.submit(measure, *cell, end) for cell in cells]:
            done.result()
    left = len(cells) - len({key(row) for row in rows()} & set(cells))
    if left:
        sys.exit(f"{left} of {len(cells)} cells are left; start again to go on")


if __name__ == "__main__":
    main(sys.argv[1:])
