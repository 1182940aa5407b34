"""The measured parts of docs/kvcrush.md, between its markers: results/eval-crush.json (by
measure_crush.py) and results/eval-keep1.json (by measure_keep1.py). The prose around them is
written in the document itself."""

import os
import re

import common
import quality

DOCUMENT = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "kvcrush.md")
NAMES = {"kld": "KL divergence from the f16 cache, mean", "kv_recall": "recall from a dictionary",
         "lines": "line retrieval", "passkey": "pass key"}
ORDER = ["none", "random", "kvcrush"]


def choice(row):
    """`none`, `kvcrush, anchor=mean`: what follows the base in the plan as typed."""
    text = row["preset"].partition("representatives=")[2]
    method, _, parameter = text.partition(",representatives.")
    return method + (f", {parameter}" if parameter else "")


def cell(row):
    if row is None:
        return ""
    metrics = row["metrics"]
    if row["task"] == "kld":
        return f"{metrics['mean']:.3f}"
    kept = f"; {100 * metrics['answer_in_high']:.0f} %" if "answer_in_high" in metrics else ""
    return quality.share(metrics) + kept


def table(rows):
    """Choices down, budgets across, one base after the other."""
    budgets = sorted({row["budget"] for row in rows}, key=lambda text: float(text.rstrip("%")))
    at = {(row["base"], choice(row), row["budget"]): row for row in rows}
    places = list(dict.fromkeys((row["base"], choice(row)) for row in rows))
    body = [[f"`{base}`", name] + [cell(at.get((base, name, budget))) for budget in budgets]
            for base, name in sorted(places, key=lambda place: place[0])]
    return common.table(["base", "representatives"] + [f"{b}:" for b in budgets], body)


def ablation(results_dir):
    result = common.load(results_dir, "eval-crush.json")
    if result is None:
        return ""
    parts = []
    for task, title in NAMES.items():
        rows = [row for row in result["results"] if row["task"] == task]
        if rows:
            parts.append(f"**{title}** ({quality.protocol({**result, 'results': rows[:1]})})\n\n"
                         + table(rows))
    return "\n\n".join(parts + [common.provenance(result)])


def keep1(results_dir):
    result = common.load(results_dir, "eval-keep1.json")
    if result is None:
        return ""
    rows = {}
    for row in result["results"]:
        rows.setdefault(row["preset"], {})[row["task"]] = row
    body = []
    for plan, tasks in rows.items():
        if "kld" not in tasks:
            continue
        cache, kld = tasks["kld"]["cache"], tasks["kld"]["metrics"]
        suite = [tasks[task]["metrics"] if task in tasks else None
                 for task in ("lines", "kv_recall", "passkey")]
        mean = "" if None in suite else f"{sum(m['accuracy'] for m in suite) / len(suite):.3f}"
        body.append([f"`{plan}`", f"{cache['bits_per_value_marginal']:.2f}",
                     f"{cache['bits_per_value']:.2f}", f"{cache['compression_factor']:.2f}",
                     f"{kld['mean']:.4f}", f"{100 * kld['top1_changed']:.1f} %",
                     *(quality.share(metrics) if metrics else "" for metrics in suite), mean])
    titles = ["plan", "marginal:", "all-in:", "factor:", "KLD:", "argmax changed:", "lines:",
              "kv_recall:", "passkey:", "mean of the three:"]
    return common.table(titles, body) + "\n\n" + common.provenance(result)


def document(results_dir, path=DOCUMENT):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for name, part in (("ablation", ablation), ("keep1", keep1)):
        begin, end = f"<!-- {name}: written by ./dev results -->\n", f"<!-- end of {name} -->"
        body = part(results_dir)
        body = "\n" + body + "\n\n" if body else ""
        text = re.sub(re.escape(begin) + ".*?" + re.escape(end),
                      lambda _: begin + body + end, text, flags=re.S)
    return text
