"""Measures what crush.py shows: representatives at equal bytes, into results/eval-crush.json.

usage: measure_crush.py      (after ./dev build)

For every budget and base one call of `kvkeep eval --at-bytes` with every anchor on all tasks, and
others with the other forms of the signature and the block form on `ppl` and `kld`; written as it
comes: started again, the measurement goes on where it stopped. As many run side by side as
KVKEEP_JOBS says, or as there are processors; KVKEEP_MINUTES=8 begins nothing new after that many;
delete the file to measure anew.
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
FORMS = ["kvcrush:threshold=top", "kvcrush:bits=kv_head", "kvcrush:bits=kv_head,threshold=top"]
SETS = [("ppl kld lines passkey kv_recall", CHOICES), ("ppl kld", FORMS),
        ("ppl kld", ["kvcrush-block"])]
OPTIONS = ["--limit", "6144", "--samples", "5"]


def key(row):
    return row["task"], row["budget"], row["preset"]


def plan(base, choice):
    """Parameters of the slot by its name, since a comma ends a plan's."""
    method, _, parameters = choice.partition(":")
    more = "".join(f",representatives.{each}" for each in parameters.split(",") if each)
    return f"{base}:representatives={method}{more}"


def rows():
    return (common.load(measure_quality.RESULTS, NAME) or {"results": []})["results"]


def missing(tasks, choices, budget, base):
    done = {key(row) for row in rows()}
    return [task for task in tasks.split()
            if not {(task, budget, plan(base, choice)) for choice in choices} <= done]


def measure(tasks, choices, budget, base, end):
    left = missing(tasks, choices, budget, base)
    if time.monotonic() > end or not left:
        return
    plans = [plan(base, choice) for choice in choices]
    found = measure_quality.evaluate(["--tasks", ",".join(left), *OPTIONS, "--at-bytes", budget,
                                      "--plans", " ".join(plans)])
    fitted = found.pop("at_bytes")["plans"]
    for row, which in zip(found["results"], list(range(len(plans))) * len(left)):
        row.update({"budget": budget, "base": base, "preset": plans[which],
                    "deviation": fitted[which]["deviation"]})
        row.pop("cells", None)
    with measure_quality.WRITING:
        measure_quality.write(NAME, {**found, "command": "tools/results/measure_crush.py",
                                     "results": rows() + found["results"]})


def main():
    end = time.monotonic() + 60 * float(os.environ.get("KVKEEP_MINUTES", "1e9"))
    cells = [(*some, budget, base)
             for some in SETS for budget, base in itertools.product(BUDGETS, BASES)]
    jobs = int(os.environ.get("KVKEEP_JOBS", str(os.cpu_count())))
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(measure, *cell, end) for cell in cells]:
            done.result()
    left = sum(bool(missing(*cell)) for cell in cells)
    if left:
        sys.exit(f"{left} of {len(cells)} cells are left; start again to go on")


if __name__ == "__main__":
    main()
