"""Measures what keep1 is made of, and its rivals, into results/eval-keep1.json (see crush.py).

usage: measure_keep1.py      (after ./dev build)

Every plan with a predictor is calibrated first, beside a link to the model in build/keep1: a file
for a plan stays there until the model is newer. Started again, it goes on where it stopped.
"""

import os
import subprocess

import common
import measure_quality

NAME = "eval-keep1.json"
MODEL = os.path.join("models", "kvkeep-5m-f16.gguf")
FOLDER = os.path.join("build", "keep1")
CALIBRATED = ["keep1", "keep1:predictor=cross_layer", "keep1:predictor=mean,low.v=p4n16",
              "keep1:predictor=crush,low.v=p4n16",
              "keep1:predictor=cross_layer,low.k=p4n256,low.v=p1n2",
              "keep1:low.k=p4n256,predictor.index=2", "keep1:low.k=p4n16", "keep2",
              "aqua3:predictor=cross_layer,low.first=token,window=44,low.rows=16"]
PLAIN = ["f16", "mikv", "mikv-c", "rtn2"]
AT_KEEP1 = ["h2o", "snapkv", "kvcrush:base=h2o", "d2o"]  # at the bytes of keep1
TASKS = {"kld": ["--limit", "4096"], "lines": ["--samples", "10"], "kv_recall": ["--samples", "10"],
         "passkey": ["--samples", "10"]}


def calibrate(plan, number):
    path = os.path.join(measure_quality.ROOT, FOLDER, f"{number}.kvcal")
    model = os.path.join(measure_quality.ROOT, MODEL)
    if os.path.exists(path) and os.path.getmtime(path) > os.path.getmtime(model):
        return
    subprocess.run([measure_quality.KVKEEP, "calibrate", "-m", os.path.join(FOLDER, "model.gguf"),
                    "--plan", plan, "-o", path], cwd=measure_quality.ROOT, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def add(task, plans, more):
    rows = (common.load(measure_quality.RESULTS, NAME) or {"results": []})["results"]
    names = plans.split()
    if {(task, name) for name in names} <= {(row["task"], row["preset"]) for row in rows}:
        return
    found = measure_quality.evaluate(["-m", os.path.join(FOLDER, "model.gguf"), "--tasks", task,
                                      *TASKS[task], *more, "--plans", plans])
    for row, name in zip(found["results"], names):
        row["preset"] = name
    measure_quality.write(NAME, {**found, "command": "tools/results/measure_keep1.py",
                                 "results": rows + found["results"]})


def main():
    folder = os.path.join(measure_quality.ROOT, FOLDER)
    os.makedirs(folder, exist_ok=True)
    link = os.path.join(folder, "model.gguf")
    if not os.path.islink(link):
        os.symlink(os.path.join(measure_quality.ROOT, MODEL), link)
    for number, plan in enumerate(CALIBRATED):
        calibrate(plan, number)
    for task in TASKS:
        add(task, " ".join(PLAIN + CALIBRATED), [])
        add(task, " ".join(AT_KEEP1), ["--at-bytes", "1.6"])


if __name__ == "__main__":
    main()
