"""Measures the figures of docs/aqua.md: writes results/aqua.json and docs/aqua-explained.svg.

usage: measure_aqua.py [--books FILE] [--wiki FILE] [SET...]      (after ./dev build; default: all)

The texts are plain or .xz; without them the two sets that read them are left out. The file is
written after every call of `kvkeep eval`, so a measurement that was stopped goes on where it was;
delete the file to measure anew. `measure_aqua.py tables` prints what it holds as Markdown.
"""

import argparse
import json
import lzma
import os
import subprocess
import sys

import common
import measure_quality

NAME = "aqua.json"
HOT = "sinks=4,window=28"
COMPARED = (f"f16 higgs2 higgs2:{HOT} higgs2-c higgs2-c:{HOT} aqua2:predictor=mean aqua2 "
            "aqua3:sinks=0,window=0 aqua3 aqua2-hot keep2")
SCALES = (f"f16 higgs2-c:{HOT} higgs2-c:{HOT},low.unbiased=1 aqua2-hot aqua2-hot:low.unbiased=1 "
          "aqua2:predictor=none,low.scale=norm aqua2:predictor=none "
          "aqua2:predictor=none,low.scale=unbiased")
RIVALS = f"higgs2-c:scorer=h2o,keep=0.05,{HOT} mikv-int4"
SMALL = ["--limit", "4096", "--samples", "10"]
SETS = {  # text, tasks, options, plans
    "books": ("books", "ppl,kld", ["--limit", "4096"], COMPARED),
    "wiki": ("wiki", "ppl,kld", ["--limit", "4096"], COMPARED),
    "scale": ("books", "kld", ["--limit", "4096"], SCALES),
    "bytes-3.5": ("books", "kld,lines", ["--at-bytes", "3.5", *SMALL], f"f16 keep2 {RIVALS}"),
    "bytes-4": ("books", "kld,lines", ["--at-bytes", "4", *SMALL],
                f"f16 keep2 {RIVALS} aqua2:scorer=h2o,keep=0.03 aqua2-hot:scorer=h2o,keep=0.05"),
    "bytes-5.4": ("books", "kld,lines", ["--at-bytes", "5.4", *SMALL],
                  f"f16 keep2 {RIVALS} aqua2:scorer=h2o,keep=0.03 aqua2-hot:scorer=h2o,keep=0.05 "
                  "mikv-c"),
}
LENGTHS = (2048, 8192, 32768)


def text_file(path):
    """A plain file with the text: what is compressed is unpacked beside the build."""
    if not path.endswith(".xz"):
        return os.path.abspath(path)
    plain = os.path.join(measure_quality.ROOT, "build", os.path.basename(path)[:-3])
    with lzma.open(path) as packed, open(plain, "wb") as file:
        file.write(packed.read())
    return plain


def measure(which, texts):
    text, tasks, options, plans = SETS[which]
    for task in tasks.split(","):
        held = common.load(measure_quality.RESULTS, NAME) or {"results": []}
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
    """Bits of a value when `tokens` are cached: chunks grow with them, all else stays as it is.

    Adapters, exact rows and half-full blocks are those of the measured cache.
    """
    cache = row["cache"]
    low = cache["tiers"][-1]["tokens"]
    grows = cache["breakdown"]["codes"] + cache["breakdown"]["scales"]
    more = (tokens - cache["tokens"]) * grows / low
    shared = cache["breakdown"]["shared"]
    each = 8 / (values * tokens)
    return [each * (cache["bytes"] - part + more) for part in (0, shared)]


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


def draw(calibration):
    done = subprocess.run([measure_quality.KVKEEP, "inspect", calibration, "--json"],
                          cwd=measure_quality.ROOT, check=True, stdout=subprocess.PIPE)
    path = os.path.join(measure_quality.ROOT, "docs", "aqua-explained.svg")
    with open(path, "w", encoding="utf-8") as file:
        file.write(explained_svg(json.loads(done.stdout)))


def quality_table(rows):
    """One row a plan: bits, and what the tasks say, with f16 for comparison."""
    plans, tasks = {}, []
    for row in rows:
        plans.setdefault(row["preset"], {})[row["task"]] = row
        tasks += [row["task"]] if row["task"] not in tasks else []
    titles = {"ppl": ["ppl:", "of f16:"], "kld": ["KL divergence:", "first token agrees:"],
              "lines": ["lines:"]}
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


def markdown():
    held = common.load(measure_quality.RESULTS, NAME)
    if not held:
        sys.exit(f"no results/{NAME}: measure first")
    model = held["model"]
    values = 2 * model["layers"] * model["kv_heads"] * model["head_dim"]
    for which in SETS:
        rows = [row for row in held["results"] if row["set"] == which]
        if rows:
            print(f"\n{which}\n\n{quality_table(rows)}")
    rows = [row for row in held["results"] if row["set"] == "books" and row["task"] == "kld"]
    rows = [row for row in rows if row["preset"] != "f16"]
    if rows:
        print(f"\nall-in bits by length\n\n{length_table(rows, values)}")
    print("\n" + common.provenance(held))


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--books")
    parser.add_argument("--wiki")
    parser.add_argument("sets", nargs="*", metavar="SET",
                        help=f"{', '.join(SETS)}, picture or tables")
    chosen = parser.parse_args(arguments)
    if not set(chosen.sets) <= {*SETS, "picture", "tables"}:
        parser.error(f"sets: {', '.join([*SETS, 'picture', 'tables'])}")
    texts = {name: text_file(path) for name, path in
             (("books", chosen.books), ("wiki", chosen.wiki)) if path}
    for which in chosen.sets or [*SETS, "picture"]:
        if which == "tables":
            markdown()
        elif which == "picture":
            draw(os.path.join("models", "kvkeep-5m-f16.aqua2.kvcal"))
        elif SETS[which][0] in texts:
            measure(which, texts)
        else:
            print(f"{which} is left out: no --{SETS[which][0]}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
