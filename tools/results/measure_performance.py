"""Measures what performance.py shows: runs `kvkeep bench` and writes results/bench-*.json.

usage: measure_performance.py [--all] [--through COMMAND] [NAME...]    (after ./dev build)

Without NAME every set. A set is measured part by part, a minute or so each, on a machine that does
nothing else; COMMAND, which gets the run as its arguments, may see to that. Parts that were
measured with this very build are left as they are, so a run that was cut goes on where it stopped;
--all measures them again. Rivals take part in the whole-engine runs where ./dev bench
--setup-rivals has installed them.
"""

import glob
import hashlib
import json
import os
import shlex
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
RESULTS = os.path.join(ROOT, "results")
KVKEEP = os.path.join("build", "release", "kvkeep")
RIVAL_PYTHON = os.path.join("build", "rivals", "bin", "python")

WIDTHS = "u4,u3,u2,u4/u2,u2/u4"
CONTEXTS = [["attention", "--context", context, "--gqa", "1,4,8", "--layouts", layouts]
            for context in ("1K", "4K", "16K", "64K", "128K")
            for layouts in (WIDTHS, "u8,u5,s8,s5gt,s4,s3gt,c4gt,c3gt,c2gt")]
PLANS = "f16 q8_0 q4_0 mikv-4 mikv mikv-h2o rtn2"
SETS = {  # results/bench-NAME.json: parts, and the rivals beside them
    "attention": ([["attention", "--layouts", layouts] for layouts in
                   (WIDTHS, "u8,u5,s8,s5gt,s4,s3gt", "c4gt,c3gt,c2gt")], ""),
    "attention-contexts": (CONTEXTS, ""),
    "attention-groups": ([["attention", "-t", "1", "--layouts", layouts] for layouts in
                          ("u4g32,u4gt,u3g32,u3gt,u2g32,u2gt",
                           "u8/u4,s8/s4,u4/u3,u4gt/s4gt,s5gt/s3gt,s4gt/s3gt,c4gt/c2gt")], ""),
    "attention-exact": ([["attention", "-t", "1", "--at", "exact"]], ""),
    "attention-isas": ([["attention", "-t", "1", "--isas", "avx2,avx512,avx512vnni", "--layouts",
                         "u8,u4,u3,u2"]], ""),
    "memory": ([["memory"]], ""),
    "compress": ([["compress", "--parts", part, "--plans",
                   "q8_0 q4_0 rtn2 mikv-4 mikv mikv-h2o mikv-c mikv-s aqua2 keep2"] for part in
                  ("encode", "prompt", "slices", "scores", "reads", "crush")], ""),
    "decode": ([["decode", "-t", "1", "--depths", "0,1K,1792"]], "*"),
    "decode-random": ([["decode", "--random", "-t", "1", "--depths", f"0,{depth}", "--steps", "8",
                        "--rival-steps", "1", "--plans", PLANS]
                       for depth in ("4K", "8K", "16K", "32K")], "llama_cpp"),
    "decode-steal": ([["decode", "--random", "-t", "2", "--depths", "0,4K",
                       "--plans", "f16 q4_0 mikv", "--steal"]], ""),
}
# What tells rows of one list apart; parts repeat those of f16 and of depth 0.
NAMES = ("isa", "layout_k", "layout_v", "context", "gqa_ratio", "head_dim", "threads", "engine",
         "mode", "depth", "what", "plan", "phase", "queries", "rows", "bytes", "block_bytes",
         "tokens")


def path_of(name):
    return os.path.join(RESULTS, f"bench-{name}.json")


def build_digest():
    with open(os.path.join(ROOT, KVKEEP), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def rivals(names):
    if not names or not os.path.exists(os.path.join(ROOT, RIVAL_PYTHON)):
        return []
    scripts = sorted(glob.glob(f"bench/baselines/rival_{names}.py", root_dir=ROOT))
    return [part for script in scripts for part in ("--rival", f"{RIVAL_PYTHON} {script}")]


def measured(name, build):
    """The set as far as it was measured with this build, and how many parts that is."""
    try:
        with open(path_of(name), encoding="utf-8") as file:
            result = json.load(file)
    except (OSError, ValueError):
        return None, 0
    if result.get("build") != build or result["interrupted"]:
        return None, 0
    return result, result.get("parts", 1)


def name_of(row):
    return tuple((name, row[name]) for name in NAMES if name in row)


def add(into, rows):
    known = {name_of(row) for row in into}
    into += [row for row in rows if name_of(row) not in known]


def merged(result, part):
    if result is None:
        return part
    lists = (result["results"], part["results"])
    if isinstance(lists[0], list):
        add(*lists)
    else:
        for key, rows in lists[1].items():
            add(lists[0].setdefault(key, []), rows)
    add(result.setdefault("bars", []), part.get("bars", []))
    if "rivals" in part:
        result["rivals"] = part["rivals"]
    result["command"] += "; " + part["command"]
    result["rounds"] = min(result["rounds"], part["rounds"])
    result["machine"]["load_average"] = max(each["machine"].get("load_average", 0)
                                            for each in (result, part))
    return result


def run(arguments, through):
    done = subprocess.run([*through, KVKEEP, "bench", *arguments, "--json"], cwd=ROOT,
                          stdout=subprocess.PIPE)
    if done.returncode != 0 or not done.stdout:
        sys.exit(f"measure_performance.py: kvkeep bench {shlex.join(arguments)} gave no result")
    return json.loads(done.stdout)


def measure(name, build, again, through):
    parts, beside = SETS[name]
    result, done = (None, 0) if again else measured(name, build)
    for number in range(done, len(parts)):
        start = time.monotonic()
        result = merged(result, run([*parts[number], *rivals(beside)],
                                    through))
        result["build"], result["parts"] = build, number + 1
        os.makedirs(RESULTS, exist_ok=True)
        with open(path_of(name), "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
        print(f"{name}, part {number + 1} of {len(parts)}: {time.monotonic() - start:.0f} s",
              file=sys.stderr)


def main(arguments):
    through = []
    if "--through" in arguments:
        at = arguments.index("--through")
        through = shlex.split(arguments[at + 1])
        del arguments[at:at + 2]
    names = [name for name in arguments if name != "--all"]
    unknown = [name for name in names if name not in SETS]
    if unknown:
        sys.exit(f"measure_performance.py: no set {unknown[0]}; allowed: {', '.join(SETS)}")
    build = build_digest()
    for name in names or SETS:
        measure(name, build, "--all" in arguments, through)


if __name__ == "__main__":
    main(sys.argv[1:])
