"""The measured parts of docs/kvcrush.md, between its markers: results/eval-crush.json (by
measure_crush.py) and results/eval-keep1.json (by measure_keep1.py). The prose around them is
written in the document itself."""

import os

import common
import quality

DOCUMENT = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "kvcrush.md")
NAMES = {"ppl": "perplexity", "kld": "KL divergence from the f16 cache, mean",
         "kv_recall": "recall from a dictionary",
         "lines": "line retrieval", "passkey": "pass key"}
SUITE = ["lines", "kv_recall", "passkey"]  # of the table of keep1
ORDER = ["none", "random", "kvcrush"]


def choice(row):
    """`none`, `kvcrush, anchor=mean`: what follows the base in the plan as typed."""
    text = row["preset"].partition("representatives=")[2]
    return text.replace(",representatives.", ", ")


def better(row, other):
    """1: better than another plan at the same bytes, on the same units, by a whole 95 % interval;
    -1: worse; 0: neither."""
    low, high = common.paired((row, other))
    sign = -1 if row["task"] in ("ppl", "kld") else 1
    return sign * ((low > 0) - (high < 0))


def cell(row, none, random):
    if row is None:
        return ""
    metrics = row["metrics"]
    if row["task"] == "ppl":
        text = quality.perplexity(metrics)
    elif row["task"] == "kld":
        text = f"{metrics['mean']:.3f} [{metrics['low']:.3f}, {metrics['high']:.3f}]"
    else:
        text = quality.share(metrics) + f"; {100 * metrics['answer_in_high']:.0f} %"
    if none is None or row is none:
        return text
    text = {1: f"**{text}**", 0: text, -1: f"*{text}*"}[better(row, none)]
    return text + ("" if random is None or row is random
                   else {1: " \u25b2", 0: "", -1: " \u25bc"}[better(row, random)])


def table(rows):
    """Choices down, budgets across, one base after the other."""
    budgets = sorted({row["budget"] for row in rows}, key=lambda text: float(text.rstrip("%")))
    at = {(row["base"], choice(row), row["budget"]): row for row in rows}
    places = list(dict.fromkeys((row["base"], choice(row)) for row in rows))
    body = [[f"`{base}`", name] + [cell(*(at.get((base, which, budget))
                                          for which in (name, "none", "random")))
                                   for budget in budgets]
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
        rows.setdefault((row["preset"], row.get("at")), {})[row["task"]] = row
    exact = rows.get(("f16", None), {})
    body = []
    for (plan, at), tasks in rows.items():
        if "kld" not in tasks:
            continue
        cache, kld = tasks["kld"]["cache"], tasks["kld"]["metrics"]
        suite = [tasks[task]["metrics"] if task in tasks else None for task in SUITE]
        mean = "" if None in suite else f"{sum(m['accuracy'] for m in suite) / len(suite):.3f}"
        pairs = [(tasks[task], exact[task]) for task in SUITE if task in tasks and task in exact]
        if mean and plan != "f16" and all("units" in row for pair in pairs for row in pair):
            low, high = common.paired(*pairs)
            mean += f" [{low:+.3f}, {high:+.3f}]"
        body.append([f"`{plan}`" + (f" at the bytes of `{at}`" if at else ""),
                     f"{cache['bits_per_value_marginal']:.2f}",
                     f"{cache['bits_per_value']:.2f}", f"{cache['compression_factor']:.2f}",
                     f"{tasks['ppl']['metrics']['ppl']:.2f}" if "ppl" in tasks else "",
                     f"{kld['mean']:.4f}", f"{100 * kld['top1_changed']:.1f} %",
                     *(quality.share(metrics) if metrics else "" for metrics in suite), mean])
    titles = ["plan", "marginal:", "all-in:", "factor:", "ppl:", "KLD:", "argmax changed:",
              "lines:", "kv_recall:", "passkey:", "mean of the three [minus f16]:"]
    counts = ", ".join(f"`{task}` {exact[task]['metrics']['n']} questions"
                       for task in SUITE if task in exact)
    return "\n\n".join([common.table(titles, body), counts + ".", common.provenance(result)])


def document(results_dir, path=DOCUMENT):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for name, part in (("ablation", ablation), ("keep1", keep1)):
        text = common.written(text, name, part(results_dir))
    return text
