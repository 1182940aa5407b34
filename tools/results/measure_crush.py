"""Measures what crush.py shows: representatives at equal bytes, into results/eval-crush.json.

usage: measure_crush.py [TASK...]      (after ./dev build; all tasks of TASKS without arguments)

For every base, budget and task one call of `kvkeep eval --at-bytes`, written as it comes: started
again, the measurement goes on where it stopped. KVKEEP_MINUTES=8 stops it after that many.
"""

import itertools
import os
import sys
import time

import common
import measure_quality

NAME = "eval-crush.json"
BASES = ["h2o", "snapkv", "tova"]
BUDGETS = ["10%", "20%", "30%", "50%"]
ANCHORS = ["random", "mean", "alternate", "zeros", "ones"]
CHOICES = (["none", "random"] + [f"kvcrush:anchor={anchor}" for anchor in ANCHORS] +
           ["kvcrush:bits=kv_head", "kvcrush:threshold=top", "kvcrush-block"])
TASKS = {"lines": ["--samples", "10"], "passkey": ["--samples", "10"],
         "kv_recall": ["--samples", "10"], "kld": ["--limit", "2048"]}


def key(row):
    return row["task"], row["budget"], row["base"]


def plans(base):
    """Every choice on one base; parameters of the slot by its name, since a comma ends a plan's."""
    for choice in CHOICES:
        method, _, parameter = choice.partition(":")
        more = f",representatives.{parameter}" if parameter else ""
        yield f"{base}:representatives={method}{more}"


def main(arguments):
    minutes = float(os.environ.get("KVKEEP_MINUTES", "1e9"))
    start = time.monotonic()
    for budget, base, task in itertools.product(BUDGETS, BASES, arguments or TASKS):
        if time.monotonic() - start > 60 * minutes:
            sys.exit(f"{minutes} minutes are over; start again to go on")
        if (task, budget, base) in measure_quality.known(NAME, key):
            continue
        found = measure_quality.evaluate(["--tasks", task, *TASKS[task], "--at-bytes", budget,
                                          "--plans", " ".join(plans(base))])
        for row in found["results"]:
            row.update({"budget": budget, "base": base})
        rows = (common.load(measure_quality.RESULTS, NAME) or {"results": []})["results"]
        measure_quality.write(NAME, {**found, "command": "tools/results/measure_crush.py",
                                     "results": rows + found["results"]})


if __name__ == "__main__":
    main(sys.argv[1:])
