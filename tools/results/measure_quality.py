"""Measures what quality.py shows: runs `kvkeep eval` and writes results/eval-*.json.

usage: measure_quality.py [SET...]     (default: all sets; after ./dev build)

As many evaluations run side by side as there are processors, each on one thread: what they measure
does not depend on either. A file is written after every task (of the sensitivity grid: every plan),
so a measurement that was stopped goes on where it was; delete a file to measure it anew.
"""

import concurrent.futures
import itertools
import json
import os
import subprocess
import sys
import threading

import common

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
RESULTS = os.path.join(ROOT, "results")
KVKEEP = os.path.join("build", "release", "kvkeep")

EVICTION = "h2o snapkv streaming random keydiff"
INT4 = "mikv-c:low.k=u4gt,low.v=s4gt"
INT3 = "mikv-c:low=s3gt"
MAIN = "ppl kld lines passkey"
SETS = {  # tasks, options, plans; without options the defaults of `kvkeep eval`
    "suite": (MAIN, [],
              "f16 mikv-4 mikv mikv-h2o mikv-c mikv-s mikv-g mikv-int8 mikv-int4 rtn2 "
              f"{EVICTION}"),
    "predicted": (MAIN, [],
                  "f16 higgs2 higgs2-c higgs3 higgs4 turbo3 turbo4 kivi2 aqua2 aqua3 aqua2-hot "
                  "keep2 keep1 kvcrush d2o"),
    "uniform": (MAIN, [],
                "f16 q8_0 q5_0 q4_0 q4_0-rot rtn4 rtn4:low=u4gt rtn3 rtn3:low=u3gt"),
    "keys": (MAIN, [],
             "f16 rtn2:low.k=u4gt rtn2:low.k=u4gt,transform=centre rtn3:low.k=u4gt "
             "rtn3:low.k=u4gt,transform=centre mikv:keep=0.03,low.k=u4gt,transform=centre "
             "mikv-int4:low.k=u4"),
    "bytes-rtn4": (MAIN, ["--at-bytes", "5.11"],
                   f"f16 rtn4 mikv-c {INT4} {INT3} mikv-c:scorer=h2o "
                   f"mikv-c:transform=none mikv:low=u3 {EVICTION}"),
    "paired-rtn4": (MAIN, ["--at-bytes", "5.11", "--samples", "800", "--limit", "8192"],
                    f"f16 rtn4 mikv-c mikv-s {INT3}"),
    "paired-rtn3": (MAIN, ["--at-bytes", "4.04", "--samples", "40", "--limit", "8192"],
                    f"f16 rtn3 mikv-s mikv-s:transform=none mikv-int4:low.k=u4 {INT3} {EVICTION}"),
    "paired-rtn2": (MAIN, ["--at-bytes", "3.04", "--samples", "120", "--limit", "8192"],
                    f"f16 rtn2 mikv-g mikv-g:transform=none {EVICTION}"),
    "paired-keep": (MAIN, ["--samples", "40"],
                    f"mikv f16 mikv-4 mikv-h2o mikv:scorer=keydiff {EVICTION} tova knorm morphkv "
                    "scissorhands expected bumblebee pyramidkv adakv kvcrush kvcrush-block d2o "
                    "kvmerger"),
    "paired-own": ("ppl kld lines", ["--samples", "800", "--limit", "8192"],
                   "mikv-c f16 rtn4 mikv-c:scorer=h2o"),
    "mikv-parts": ("ppl kld lines", ["--limit", "4096", "--samples", "30"],
                   "f16 mikv mikv:transform=centre mikv:low.k=u3 mikv:low.k=u3,transform=centre "
                   "mikv:low.v=u3 rtn2 rtn2:transform=centre mikv:recent=0.5 "
                   "mikv:recent=0,window=16 mikv:length=0 mikv:length=1 mikv:length=3 "
                   "mikv:scorer=keydiff mikv:scorer=knorm mikv:scorer=random mikv:scorer=h2o "
                   "mikv-h2o mikv-h2o:norm=rows mikv-h2o:transform=centre"),
    "mikv-bits": ("ppl kld lines", ["--limit", "4096", "--samples", "20"],
                  "f16 rtn4 rtn4:low=u4gt rtn3 rtn2:low.k=u4gt,transform=centre "
                  "rtn3:low.k=u4gt,transform=centre rtn3:low.k=u4gt,transform=centre+hadamard "
                  "mikv:keep=0.06,low.k=u4gt,transform=centre mikv-c:transform=none "
                  "mikv-c:transform=centre mikv-c:transform=centre+hadamard "
                  "mikv-c:transform=centre+balance+hadamard mikv-c mikv-c:scorer=h2o mikv-c:keep=0 "
                  f"{INT4} {INT3} mikv-c:keep=0.02,high=f16 mikv-s mikv-s:scorer=h2o "
                  "mikv-s:transform=centre+balance:by=rms+hadamard h2o:keep=0.33"),
    "bytes-mikv": (MAIN, ["--at-bytes", "6.09"],
                   "f16 mikv mikv-h2o mikv-b mikv-c mikv:low=u3 mikv-4 mikv-int8:low=u3 "
                   f"{EVICTION}"),
    "selectors": ("ppl kld lines passkey kv_recall", ["--limit", "4096", "--samples", "10"],
                  "f16 mikv mikv-h2o h2o snapkv tova morphkv scissorhands knorm keydiff expected "
                  "bumblebee streaming random pyramidkv adakv"),
    "variants": ("ppl kld lines", ["--limit", "4096", "--samples", "10"],
                 "mikv:budget=pyramid mikv:budget=ada morphkv:quota=growing expected:recent=0.5 "
                 "h2o:scorer=zipcache snapkv:budget=shares:of=3/2/1/1/1/1"),
    "higgs": ("ppl kld lines", ["--limit", "4096", "--samples", "20"],
              "f16 rtn2 rtn2:transform=centre kivi2 higgs2 higgs2:low.unbiased=1 higgs2-c "
              "higgs2-c:low.unbiased=1 rtn3 higgs3 turbo3 rtn4 q4_0-rot higgs4 turbo4 kivi4"),
    "tasks": ("ppl needle multi_needle kv_recall copy variable_tracking generate",
              ["--samples", "10"], "f16 mikv-4 mikv mikv-c rtn2 h2o"),
}
# What plans of a set are compared with, on the same units.
PAIRED = {"paired-rtn4": "rtn4", "paired-rtn3": "rtn3", "paired-rtn2": "rtn2",
          "paired-keep": "mikv", "paired-own": "mikv-c"}
GRID = {"scorer": ["damage", "h2o", "snapkv"], "keep": [0.05, 0.1, 0.2, 0.4], "bits": [2, 3, 4],
        "group": [32, 64]}
GRID_TASKS = {"ppl": ["--limit", "2048"], "kld": ["--limit", "2048"],
              "lines": ["--limit", "6"]}
WRITING = threading.Lock()


def evaluate(arguments):
    """The JSON of one call."""
    done = subprocess.run([KVKEEP, "eval", "-t", "1", *arguments, "--json"], cwd=ROOT,
                          capture_output=True, text=True)
    if done.returncode != 0:
        reason = done.stderr.splitlines()[-1:]
        sys.exit(f"measure_quality.py: {' '.join(arguments)}: {''.join(reason)}")
    return json.loads(done.stdout)


def write(name, result):
    os.makedirs(RESULTS, exist_ok=True)
    path = os.path.join(RESULTS, name)
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1, ensure_ascii=False)
        file.write("\n")
    os.replace(path + ".part", path)


def known(name):
    """What a file already has: its rows by task and plan as typed."""
    rows = (common.load(RESULTS, name) or {"results": []})["results"]
    return {(row["task"], row["preset"]): row for row in rows}


def pair(rows, reference):
    """What each row has above that of the reference, with its interval, and in how many answers
    its nll is less; drops the units."""
    against = next((row for row in rows if row["preset"] == reference), None)
    for row in rows if against else []:
        low, high = common.paired((row, against))
        row["versus"] = {"plan": reference, "low": low, "high": high}
        if "nll_units" in row:
            low, high = common.paired((row, against), units="nll_units")
            less = [a < b for a, b in zip(row["nll_units"], against["nll_units"])]
            row["versus"] |= {"nll_low": low, "nll_high": high, "nll_less": sum(less) / len(less)}
    for row in rows:
        row.pop("units", None)
        row.pop("nll_units", None)


def measure(name, task, arguments, order):
    """Runs one task and writes the file's rows with it, in the order of `order`."""
    found = evaluate(["--tasks", task, *arguments])
    with WRITING:
        which = name.removeprefix("eval-").removesuffix(".json")
        pair(found["results"], PAIRED.get(which))
        rows = list(known(name).values()) + found["results"]
        rows.sort(key=lambda row: order.index(row["task"]))
        write(name, {**found, "command": f"tools/results/measure_quality.py {which}",
                     "results": rows})
    print(f"{name}: {' '.join(['--tasks', task, *arguments])}", file=sys.stderr, flush=True)


def set_jobs(which):
    tasks, options, plans = SETS[which]
    name, order = f"eval-{which}.json", tasks.split()
    done = {task for task, _ in known(name)}
    return [(name, task, [*options, "--plans", plans], order)
            for task in order if task not in done]


def grid_plans():
    for scorer, keep, bits, group in itertools.product(*GRID.values()):
        layout = f"u{bits}g{group}"
        yield (f"scorer={scorer};budget=uniform:keep={keep};high=f16;"
               f"low=rtn:k={layout},v={layout};transform=none")


def grid_jobs():
    name, order = "eval-sensitivity.json", list(GRID_TASKS)
    done = known(name)
    return [(name, task, [*options, "--plans", plan], order)
            for plan in grid_plans() for task, options in GRID_TASKS.items()
            if (task, plan) not in done]


def main(arguments):
    sets = arguments or [*SETS, "sensitivity"]
    if not set(sets) <= {*SETS, "sensitivity"}:
        sys.exit(__doc__ + f"\nsets: {' '.join([*SETS, 'sensitivity'])}")
    jobs = [job for which in sets
            for job in (grid_jobs() if which == "sensitivity" else set_jobs(which))]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in [pool.submit(measure, *job) for job in jobs]:
            done.result()


if __name__ == "__main__":
    main(sys.argv[1:])
