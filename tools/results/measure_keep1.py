"""Measures what keep1 is made of, and its rivals, into results/eval-keep1.json (see crush.py).

usage: measure_keep1.py TRAIN.txt VALID.txt     (after ./dev build; KVKEEP_JOBS side by side)

Every plan with a predictor is calibrated on TRAIN first, beside a link to the model in build/keep1:
a file for a plan stays there until the model is newer. Perplexity and divergence are measured on
VALID, which no calibration saw. Started again, it goes on where it stopped; delete
the result to measure anew.
"""

import concurrent.futures
import os
import re
import subprocess
import sys

import common
import measure_quality
from measure_quality import ROOT

NAME = "eval-keep1.json"
COMMAND = "tools/results/measure_keep1.py books-train.txt books-valid.txt"
MODEL = os.path.join("models", "kvkeep-5m-f16.gguf")
FOLDER = os.path.join("build", "keep1")
LINK = os.path.join(FOLDER, "model.gguf")
CALIBRATED = ["keep1", "keep1:predictor=cross_layer", "keep1:predictor=mean,low.v=p4n16",
              "keep1:predictor=crush,low.v=p4n16",
              "keep1:predictor=cross_layer,low.k=p4n256,low.v=p1n2",
              "keep1:low.k=p4n256,predictor.index=2", "keep1:low.k=p4n16", "keep2",
              "keep1:predictor=cross_layer,low.k=p2n64,low.v=p4n256",
              "keep1:predictor=cross_layer,low.k=p2n256,low.v=p4n256"]
PLAIN = ["f16", "mikv", "mikv-c", "rtn2"]
NEAR = ["keep1:predictor.near=0", "keep1:predictor.near=1"]  # calibrated as keep1 is
AT_BYTES = {"keep1": ["h2o", "snapkv", "h2o:representatives=kvcrush", "d2o"], "rtn2": ["keep1"],
            "mikv": ["keep1:scorer=h2o,keep=0.03"]}  # plans fitted to the bytes of another
SUITE = ["f16", *CALIBRATED[-2:], "keep1", "mikv", "rtn2"]  # asked as well
ASKED_AT_BYTES = ["h2o", "snapkv", "keep1", "keep1:scorer=h2o,keep=0.03"]
TASKS = {"ppl": ["--limit", "4096"], "kld": ["--limit", "4096"],
         "lines": ["--samples", "40"], "kv_recall": ["--samples", "40"],
         "passkey": ["--samples", "40"]}


def calibrate(plan, text):
    path = os.path.join(ROOT, FOLDER, re.sub(r"\W+", "-", plan) + ".kvcal")
    if os.path.exists(path) and os.path.getmtime(path) > os.path.getmtime(os.path.join(ROOT, LINK)):
        return
    subprocess.run([measure_quality.KVKEEP, "calibrate", "-m", LINK, "-t", "1", "--plan", plan,
                    "--text", text, "-o", path], cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def rows():
    return (common.load(measure_quality.RESULTS, NAME) or {"results": []})["results"]


def measure(task, plans, at=None):
    """What the file does not have of these plans, fitted to the bytes of the plan `at` if given."""
    known = {(row["task"], row["preset"], row.get("at")) for row in rows()}
    plans = [plan for plan in plans if (task, plan, at) not in known]
    if not plans:
        return
    fitted = ["--at-bytes", f"{bits_of(at):.2f}"] if at else []
    found = measure_quality.evaluate(["-m", LINK, "--tasks", task, *TASKS[task], *fitted,
                                      "--plans", " ".join(plans)])
    for row, plan in zip(found["results"], plans):
        row["preset"] = plan
        row.pop("cells", None)
        if at:
            row["at"] = at
    with measure_quality.WRITING:
        measure_quality.write(NAME, {**found, "command": COMMAND,
                                     "results": rows() + found["results"]})


def bits_of(plan):
    """With everything, as --at-bytes counts."""
    return next(row["cache"]["bits_per_value"] for row in rows()
                if (row["task"], row["preset"], row.get("at")) == ("kld", plan, None))


def main(arguments):
    if len(arguments) != 2:
        sys.exit(__doc__)
    train, valid = map(os.path.abspath, arguments)
    for task in ("ppl", "kld"):
        TASKS[task] += ["--text", valid]
    os.makedirs(os.path.join(ROOT, FOLDER), exist_ok=True)
    if not os.path.islink(os.path.join(ROOT, LINK)):
        os.symlink(os.path.join(ROOT, MODEL), os.path.join(ROOT, LINK))
    jobs = int(os.environ.get("KVKEEP_JOBS", str(os.cpu_count())))
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda plan: calibrate(plan, train), CALIBRATED))
        measure("kld", list(AT_BYTES))
        jobs = [pool.submit(measure, task, PLAIN + CALIBRATED + NEAR) for task in ("ppl", "kld")]
        jobs += [pool.submit(measure, task, plans, at)
                 for task in ("ppl", "kld") for at, plans in AT_BYTES.items()]
        for task in list(TASKS)[2:]:
            jobs += [pool.submit(measure, task, [plan]) for plan in SUITE]
            jobs += [pool.submit(measure, task, [plan for plan in plans if plan in ASKED_AT_BYTES],
                                 at) for at, plans in AT_BYTES.items()]
        for job in jobs:
            job.result()


if __name__ == "__main__":
    main(sys.argv[1:])
