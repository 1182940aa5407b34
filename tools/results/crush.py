"""What representatives are worth: tables of results/eval-crush.json (measure_crush.py)."""

import common
import quality

NAMES = {"lines": "line retrieval", "passkey": "pass key", "kv_recall": "recall from a dictionary",
         "kld": "KL divergence from the f16 cache, mean"}


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
    return quality.share(metrics)


def table(rows):
    """Choices down, budgets across, one base after the other."""
    budgets = sorted({row["budget"] for row in rows}, key=lambda text: float(text.rstrip("%")))
    at = {(row["base"], choice(row), row["budget"]): row for row in rows}
    places = list(dict.fromkeys((row["base"], choice(row)) for row in rows))
    body = [[f"`{base}`", name] + [cell(at.get((base, name, budget))) for budget in budgets]
            for base, name in sorted(places, key=lambda place: place[0])]
    return common.table(["base", "representatives"] + [f"{b}:" for b in budgets], body)


def tables(results_dir):
    result = common.load(results_dir, "eval-crush.json")
    if result is None:
        return ""
    parts = []
    for task, title in NAMES.items():
        rows = [row for row in result["results"] if row["task"] == task]
        if rows:
            parts.append(f"**{title}** ({quality.protocol({**result, 'results': rows[:1]})})\n\n"
                         + table(rows))
    return "\n\n".join(
        ["## Representatives of evicted tokens at equal bytes",
         "Shares of the bytes of the f16 cache, everything counted; `keep` is fitted for each "
         "plan. `none` is the base alone. KVCrush takes the anchor `random` where none is given.",
         *parts, common.provenance(result)])
