"""Measures the figures of docs/aqua.md and writes them there, with results/aqua.json behind them.

usage: measure_aqua.py [--books FILE] [--wiki FILE] [SET...]      (after ./dev build; default: all)

The texts are plain or .xz; sets that read one that is not given are left out. The file is written
after every call of `kvkeep eval`, so a measurement that was stopped goes on where it was; figures
of another model are dropped. The last set, `doc`, writes the tables between the marks in
docs/aqua.md and draws docs/aqua-explained.svg.
"""

import argparse
import json
import lzma
import os
import re
import subprocess
import sys

import common
import measure_quality

NAME = "aqua.json"
HOT = "sinks=4,window=28"
# With keep=0.0153 higgs2-c has the bits of aqua2 by either count, with twice that more.
COMPARED = (f"f16 higgs2 higgs2:{HOT} higgs2-c higgs2-c:{HOT} higgs2-c:{HOT},low.unbiased=1 "
            f"higgs2-c:scorer=h2o,keep=0.0153,{HOT},low.unbiased=1 "
            f"higgs2-c:scorer=h2o,keep=0.0309,{HOT},low.unbiased=1 "
            "aqua2:predictor=mean aqua2 aqua3:sinks=0,window=0 aqua3 aqua2-hot keep2")
SCALES = ("f16 aqua2:low.scale=norm aqua2:low.scale=least_squares aqua2 "
          "aqua3:low.scale=least_squares aqua3 keep2:low.scale=least_squares keep2 "
          "aqua2:predictor=none,low.scale=least_squares aqua2:predictor=none "
          "aqua2-hot aqua2-hot:low.unbiased=1")
RIVALS = f"higgs2-c:scorer=h2o,keep=0.05,{HOT} mikv-int4"
SMALL = ["--limit", "4096", "--samples", "10"]
SETS = {  # text, tasks, options, plans
    "books": ("books", "ppl,kld", ["--limit", "16384"], COMPARED),
    "wiki": ("wiki", "ppl,kld", ["--limit", "16384"], COMPARED),
    "scale": ("books", "ppl,kld", ["--limit", "4096"], SCALES),
    "bytes-3.5": ("books", "ppl,kld,lines", ["--at-bytes", "3.5", *SMALL], f"f16 keep2 {RIVALS}"),
    "bytes-4": ("books", "ppl,kld,lines", ["--at-bytes", "4", *SMALL],
                f"f16 keep2 {RIVALS} aqua2:scorer=h2o,keep=0.03 aqua2-hot:scorer=h2o,keep=0.05 "
                "mikv-s"),
    "bytes-5.4": ("books", "ppl,kld,lines", ["--at-bytes", "5.4", *SMALL],
                  f"f16 keep2 {RIVALS} aqua2:scorer=h2o,keep=0.03 aqua2-hot:scorer=h2o,keep=0.05 "
                  "mikv-c"),
}
CAPTIONS = {
    "books": "Eight windows of 2,048 tokens of `books-valid`, which no calibration saw, "
             "`--step 32`:",
    "wiki": "The same on a text of another kind, WikiText-2:",
    "scale": "The stored scale: norm, least error, or (default) the one that keeps dot products:",
    "bytes-3.5": "Equal bytes, adapters of one sequence included, `--at-bytes 3.5`:",
    "bytes-4": "`--at-bytes 4`:",
    "bytes-5.4": "`--at-bytes 5.4`, where `mikv-c` fits as well:",
}
CALIBRATION = os.path.join("models", "kvkeep-5m-f16.aqua2.kvcal")
DOC = os.path.join(measure_quality.ROOT, "docs", "aqua.md")
BEGIN = "<!-- measured by tools/results/measure_aqua.py -->\n"
END = "<!-- end of what it wrote -->\n"
PAPER = {"key": "0.79", "value": "0.69 (previous layer's K and V)"}  # its notebook, Llama-3.2-3B
LENGTHS = (2048, 8192, 32768)


def text_file(path):
    """A plain file with the text: what is compressed is unpacked beside the build."""
    if not path.endswith(".xz"):
        return os.path.abspath(path)
    plain = os.path.join(measure_quality.ROOT, "build", os.path.basename(path)[:-3])
    with lzma.open(path) as packed, open(plain, "wb") as file:
        file.write(packed.read())
    return plain


def load():
    """What was measured on the model that the calibration is for."""
    held = common.load(measure_quality.RESULTS, NAME)
    same = held and held["model"]["fingerprint"] == inspect(CALIBRATION)["model"]
    return held if same else {"results": []}


def measure(which, texts):
    text, tasks, options, plans = SETS[which]
    for task in tasks.split(","):
        held = load()
        if any(row["set"] == which and row["task"] == task for row in held["results"]):
            continue
        found = measure_quality.evaluate(
            ["--tasks", task, "--text", texts[text], *options, "--plans", plans])
        for row in found["results"]:
            row["set"] = which
        found["command"] = "tools/results/measure_aqua.py"
        measure_quality.write(NAME, {**found, "results": held["results"] + found["results"]})
        print(f"{which}: {task}", file=sys.stderr, flush=True)


def all_in(row, tokens, values):
    """Bits of a value when `tokens` are cached, with and without adapters.

    Each more token is an exact row by the plan's share of important ones, else a coded row; what
    does not grow with them (adapters, sinks, window, half-full blocks) stays as it was measured.
    """
    cache = row["cache"]
    parts, exact, coded = cache["breakdown"], cache["tiers"][0], cache["tiers"][-1]
    keep = float(re.search(r"keep=([\d.]+)", row["plan"]).group(1))
    each_coded = (parts["codes"] + parts["scales"]) / coded["tokens"]
    each_exact = (parts["exact"] + parts["positions"] + parts["scores"]) / max(1, exact["tokens"])
    more = (tokens - cache["tokens"]) * (keep * each_exact + (1 - keep) * each_coded)
    return [8 / (values * tokens) * (cache["bytes"] - part + more) for part in (0, parts["shared"])]


def explained_svg(report):
    """Bars of the share of the variance that a calibration explains, by layer."""
    rows, left, top, height, step = report["explained"], 48, 34, 180, 64
    width = left + step * len(rows) + 12
    ink = "#444"
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top + height + 44}" '
           f'font-family="sans-serif" font-size="12" fill="{ink}">',
           f'<rect width="{width}" height="{top + height + 44}" fill="#fff"/>']
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = top + height * (1 - share)
        out.append(f'<path d="M{left} {y:.1f}H{width - 12}" stroke="#ddd"/>'
                   f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{share:g}</text>')
    for i, row in enumerate(rows):
        x = left + step * i
        for j, (side, colour) in enumerate((("key", "#3b6ea5"), ("value", "#d98a2b"))):
            share = row[side]["explained"]
            tall = height * max(0.0, min(1.0, share))
            bar = x + 10 + 23 * j
            out.append(f'<rect x="{bar}" y="{top + height - tall:.1f}" width="20" '
                       f'height="{tall:.1f}" fill="{colour}"/>'
                       f'<text x="{bar + 10}" y="{top + height - tall - 4:.1f}" font-size="10" '
                       f'text-anchor="middle">{share:.2f}</text>')
        out.append(f'<text x="{x + 31}" y="{top + height + 17}" text-anchor="middle">'
                   f'{row["layer"]}</text>')
    out.append(f'<text x="{left + step * len(rows) / 2}" y="{top + height + 36}" '
               'text-anchor="middle">layer</text>')
    for i, (name, colour) in enumerate((("keys", "#3b6ea5"), ("values", "#d98a2b"))):
        out.append(f'<rect x="{left + 80 * i}" y="8" width="12" height="12" fill="{colour}"/>'
                   f'<text x="{left + 80 * i + 17}" y="18">{name}</text>')
    return "\n".join(out) + "\n</svg>\n"


def inspect(calibration):
    done = subprocess.run([measure_quality.KVKEEP, "inspect", calibration, "--json"],
                          cwd=measure_quality.ROOT, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def explained_table(report):
    sides = [[f"{side}s", *[f"{row[side]['explained']:.2f}" for row in report["explained"]],
              PAPER[side]] for side in ("key", "value")]
    layers = [f"{row['layer']}:" for row in report["explained"]]
    return common.table(["layer", *layers, "paper's notebook, Llama-3.2-3B"], sides)


def quality_table(rows):
    """One row a plan: bits, and what the tasks say, with f16 for comparison."""
    plans = {}
    for row in rows:
        plans.setdefault(row["preset"], {})[row["task"]] = row
    titles = {"ppl": ["ppl:", "of f16:"], "kld": ["KL divergence:", "first token agrees:"],
              "lines": ["lines:"]}
    tasks = [task for task in titles if any(row["task"] == task for row in rows)]
    reference = plans["f16"].get("ppl")
    lines = []
    for plan, found in plans.items():
        cache = next(iter(found.values()))["cache"]
        cells = [f"`{plan}`", f"{cache['paper_bits_per_value']:.2f}",
                 f"{cache['bits_per_value_marginal']:.2f}", f"{cache['bits_per_value']:.2f}"]
        for task in tasks:
            metrics = found[task]["metrics"]
            if task == "ppl":
                of = metrics["ppl"] / reference["metrics"]["ppl"] - 1
                cells += [f"{metrics['ppl']:.2f}", f"{100 * of:+.2f} %"]
            elif task == "kld":
                cells += [f"{metrics['mean']:.4f}", f"{metrics['top1_agreement']:.3f}"]
            else:
                cells.append(f"{metrics['accuracy']:.2f}")
        lines.append(cells)
    heads = [title for task in tasks for title in titles[task]]
    return common.table(["plan", "paper bits:", "marginal:", "all-in:", *heads], lines)


def length_table(rows, values):
    lines = []
    for row in rows:
        both = [all_in(row, tokens, values) for tokens in LENGTHS]
        lines.append([f"`{row['preset']}`", f"{row['cache']['paper_bits_per_value']:.2f}",
                      *[f"{own:.2f} ({without:.2f})" for own, without in both]])
    return common.table(["plan", "paper bits:", *[f"{n // 1024}K:" for n in LENGTHS]], lines)


def markdown(held, report):
    """What stands between the marks of the document."""
    model = held["model"]
    values = 2 * model["layers"] * model["kv_heads"] * model["head_dim"]
    parts = []
    for which, caption in CAPTIONS.items():
        rows = [row for row in held["results"] if row["set"] == which]
        parts += [caption, quality_table(rows)] if rows else []
    rows = [row for row in held["results"]
            if row["set"] == "books" and row["task"] == "kld" and row["preset"] != "f16"]
    if rows:
        parts += ["All-in bits by length, one sequence paying for all adapters; in brackets none, "
                  "as where many sequences share them. Computed from the cache measured at 2K: "
                  "adapters, sinks and window stay, coded rows and the share of exact ones grow:",
                  length_table(rows, values)]
    parts += ["Share of the variance that the predictors of `aqua2` explain, on held-out windows "
              "(half prose, half records), by `kvkeep inspect models/kvkeep-5m-f16.aqua2.kvcal`:",
              explained_table(report), "![by layer](aqua-explained.svg)", common.provenance(held)]
    return "\n\n".join(parts) + "\n"


def write_doc():
    held, report = load(), inspect(CALIBRATION)
    if not held["results"]:
        sys.exit(f"no results/{NAME} of this model: measure first")
    with open(DOC, encoding="utf-8") as file:
        before, _, rest = file.read().partition(BEGIN)
    with open(DOC, "w", encoding="utf-8") as file:
        file.write(before + BEGIN + "\n" + markdown(held, report) + "\n" + END +
                   rest.partition(END)[2])
    with open(os.path.join(os.path.dirname(DOC), "aqua-explained.svg"), "w",
              encoding="utf-8") as file:
        file.write(explained_svg(report))


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--books")
    parser.add_argument("--wiki")
    parser.add_argument("sets", nargs="*", metavar="SET",
                        help=f"{', '.join(SETS)} or doc")
    chosen = parser.parse_args(arguments)
    if not set(chosen.sets) <= {*SETS, "doc"}:
        parser.error(f"sets: {', '.join([*SETS, 'doc'])}")
    texts = {name: text_file(path) for name, path in
             (("books", chosen.books), ("wiki", chosen.wiki)) if path}
    for which in chosen.sets or [*SETS, "doc"]:
        if which == "doc":
            write_doc()
        elif SETS[which][0] in texts:
            measure(which, texts)
        else:
            print(f"{which} is left out: no --{SETS[which][0]}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
