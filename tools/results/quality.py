"""What plans cost in quality: tables of results/eval-*.json, outputs of `kvkeep eval --json`.

eval-suite.json        the presets, each with its own bytes
eval-predicted.json    the presets of grids, cross-layer prediction and representatives
eval-uniform.json      every token at the same bits
eval-keys.json         keys of the low tier at more bits than its values
eval-bytes-*.json      plans at equal bytes (--at-bytes): those of rtn4 and mikv
eval-paired-rtn*.json  the same with more questions, and differences on the same questions
eval-paired-keep.json  plans that keep the same share of the tokens, and these differences
eval-paired-own.json   plans of about the bytes of rtn4 as they are, and these differences
eval-tasks.json        the other tasks
eval-sensitivity.json  a grid of plans: scorer x keep x bits x group of the low tier
"""

import math
import re

import common


def share(metrics, name="accuracy"):
    """A share with its interval where there is one: 0.85 [0.78, 0.91]."""
    low, high = ("low", "high") if f"{name}_low" not in metrics else (f"{name}_low", f"{name}_high")
    text = f"{metrics[name]:.2f}"
    if low in metrics:
        text += f" [{metrics[low]:.2f}, {metrics[high]:.2f}]"
    return text


def number(name, digits):
    return lambda metrics: f"{metrics[name]:.{digits}f}"


def divergence(metrics):
    """A mean with its interval where there is one: 0.0016 [0.0012, 0.0020]."""
    text = f"{metrics['mean']:.4f}"
    return text + (f" [{metrics['low']:.4f}, {metrics['high']:.4f}]" if "low" in metrics else "")


def perplexity(metrics):
    """With what it is above that of f16, on the same stretches: 22.73 [+0.10, +0.28] %."""
    text = f"{metrics['ppl']:.2f}"
    if "nll_vs_f16_low" not in metrics:
        return text
    low, high = (100 * (math.exp(metrics[f"nll_vs_f16_{end}"]) - 1) for end in ("low", "high"))
    return f"{text} [{low:+.2f}, {high:+.2f}] %"


def percent(name):
    return lambda metrics: f"{100 * metrics[name]:.1f} %"


def answers(title):
    return [(title + ":", share)]


# Beside the accuracy of a task with questions, in sets that compare plans question by question.
# Less is better.
ANSWER_NLL = ("nats an answer:", number("answer_nll", 3))


COLUMNS = {
    "ppl": [("ppl:", perplexity)],
    "kld": [("KLD mean:", divergence), ("p99:", number("p99", 3)),
            ("argmax changed:", percent("top1_changed"))],
    "lines": answers("lines") + [("answers in high tier:", percent("answer_in_high"))],
    "passkey": answers("passkey"),
    "needle": answers("needle"),
    "multi_needle": answers("multi_needle"),
    "kv_recall": answers("kv_recall"),
    "copy": answers("copy"),
    "variable_tracking": answers("variable_tracking"),
    "generate": [("tokens as f16, of 256:", number("first_divergence", 0))],
    "attention_error": [("attention error:", number("mean", 3)),
                        ("worst head:", number("worst", 3))],
}


def versus(row, name=""):
    """The interval of a difference on the same units: of the first metric (of ppl: its nll), or
    of another, then with the share of units in which it is less, where that was counted."""
    digits, found = 4 if row["task"] in ("kld", "ppl") else 3, row["versus"]
    less = found.get(name + "less", 0)
    return (f"[{found[name + 'low']:+.{digits}f}, {found[name + 'high']:+.{digits}f}]"
            + (f"; less in {100 * less:.0f} %" if less else ""))


def columns(task, rows):
    """(title, how to show a row) of a task; with differences where rows have them."""
    found = [(title, lambda row, show=show: show(row["metrics"])) for title, show in COLUMNS[task]]
    if "versus" not in rows[0]:
        return found
    above = f"above `{rows[0]['versus']['plan']}`:"
    found.append((above, versus))
    if "nll_low" in rows[0]["versus"]:
        title, show = ANSWER_NLL
        found.insert(0, ("bits:", lambda row: f"{row['cache']['bits_per_value']:.2f}"))
        found += [(title, lambda row: show(row["metrics"])),
                  (above, lambda row: versus(row, "nll_"))]
    return found


def rows_by(result, key):
    """{key of a row: {task: row}}, in the order of the file."""
    found = {}
    for row in result["results"]:
        found.setdefault(key(row), {})[row["task"]] = row
    return found


def pivot(result):
    """One row a plan, the columns of all tasks the result has."""
    tasks = [task for task in COLUMNS if any(row["task"] == task for row in result["results"])]
    titles = ["plan", "bits:", "factor:", "window:"]
    shown = {task: columns(task, [row for row in result["results"] if row["task"] == task])
             for task in tasks}
    for task in tasks:
        titles += [title for title, _ in shown[task]]
    rows = []
    for preset, by_task in rows_by(result, lambda row: row["preset"]).items():
        first = next(by_task[task] for task in tasks if task in by_task)
        cache = first["cache"]
        cells = [f"`{preset}`", f"{cache['bits_per_value']:.2f}",
                 f"{cache['compression_factor']:.2f}",
                 str(first["protocol"]["exact_window"])]
        for task in tasks:
            row = by_task.get(task)
            cells += [show(row) if row else "" for _, show in shown[task]]
        rows.append(cells)
    return common.table(titles, rows)


def protocol(result):
    """How many tokens and samples the figures rest on."""
    parts = []
    for by_task in list(rows_by(result, lambda row: row["preset"]).values())[:1]:
        for task, row in by_task.items():
            found = row["protocol"]
            count = (f"{found['samples']} samples" if "samples" in found
                     else f"{row['metrics']['tokens']:,} scored tokens")
            parts.append(f"`{task}` {count} of up to {found['ctx']} tokens")
    return "; ".join(parts) + ". Intervals are 95 %."


def section(result, title, text, body):
    return "\n\n".join([f"## {title}", text, protocol(result), body, common.provenance(result)])


def by_depth(result, task):
    """Accuracy of a task at each depth of the context, one row a plan."""
    rows = [row for row in result["results"] if row["task"] == task and row.get("cells")]
    if not rows:
        return ""
    depths = sorted({cell["depth"] for cell in rows[0]["cells"]})

    def mean(row, depth):
        cells = [cell for cell in row["cells"] if cell["depth"] == depth]
        asked = sum(cell["n"] for cell in cells)
        return f"{sum(cell['value'] * cell['n'] for cell in cells) / asked:.2f}"
    titles = [f"`{task}` by depth"] + [f"{100 * depth:.0f} %:" for depth in depths]
    return "\n\n" + common.table(titles, [[f"`{row['preset']}`"] + [mean(row, d) for d in depths]
                                          for row in rows])


def suite(result):
    return section(result, "Quality of the presets",
                   "Every preset at its own size. Bits are per cached value, everything counted, "
                   "at the end of the first task; beside a perplexity stands the interval of what "
                   "it is above that of `f16`; window is the newest tokens that are "
                   "pinned exact then. The question comes after the compression.",
                   pivot(result) + by_depth(result, "lines") + by_depth(result, "passkey"))


def predicted(result):
    return section(result, "Grids, prediction and representatives",
                   "HIGGS, TurboQuant and KIVI as rivals, AQUA-KV and what is composed with it. "
                   "Adapters of `aqua*` and `keep*` are charged to this one sequence.",
                   pivot(result))


def uniform(result):
    return section(result, "Every token at the same bits", "The protocol of the presets.",
                   pivot(result))


def keys(result):
    return section(result, "Keys finer than values",
                   "With and without their mean removed; `gt`: one group a row. The protocol "
                   "of the presets.",
                   pivot(result))


def at_bytes(result):
    fitted = result["at_bytes"]
    worst = max((abs(plan["deviation"]) for plan in fitted["plans"]), default=0)
    unit = "of the f16 cache" if fitted["asked"].endswith("%") else "bits per value"
    return section(result, f"Quality at equal bytes: {fitted['asked']} {unit}",
                   f"`keep` of each plan is fitted to {fitted['bytes']:,} bytes at "
                   f"{fitted['tokens']:,} tokens, everything counted; blocks of 64 tokens leave "
                   f"deviations of up to {100 * worst:.1f} %.",
                   pivot(result))


def same_keep(result):
    return section(result, "2-bit tails against eviction at the same keep fraction",
                   "A fifth of the tokens stays in every plan but `f16`; what becomes of the rest "
                   "is the difference, its bytes included in `bits`. The reference is `mikv`.",
                   pivot(result))


def own_size(result):
    return section(result, "`mikv-c` as it is, question by question",
                   "No plan is fitted: `mikv-c`, `rtn4`, and `mikv-c` under another scorer; bits "
                   "are those of the text and, beside them, of the questions.", pivot(result))


def other_tasks(result):
    return section(result, "The other tasks",
                   "What the embedded model cannot do with its exact cache (the row of `f16`) says "
                   "nothing about a plan.", pivot(result))


GRID = re.compile(r"scorer=(\w+).*budget=uniform:keep=([\d.]+).*low=rtn:k=u(\d)(?:g(\d+))?")


def sensitivity(result):
    """For each task one table: scorer and keep down, bits and group of the low tier across."""
    at = {}
    for row in result["results"]:
        scorer, keep, bits, group = GRID.search(row["plan"]).groups()
        place = ((scorer, float(keep)), (int(bits), int(group or 0)))
        at.setdefault(row["task"], {})[place] = row
    parts = []
    for task, rows in at.items():
        down = sorted({place[0] for place in rows})
        across = sorted({place[1] for place in rows})
        titles = ["scorer", "keep:"] + [f"int{b}, group {g}:" for b, g in across]
        title, show = COLUMNS[task][0]
        heat = ranks({place: goodness(row) for place, row in rows.items()})
        body = [[scorer, keep] + [cell(rows, ((scorer, keep), x), show, heat) for x in across]
                for scorer, keep in down]
        parts.append(f"{title.rstrip(':')} (bits per value):\n\n{common.table(titles, body)}")
    return section(result, "Sensitivity of `mikv`",
                   "What the share of important tokens (half of it the newest), the bits and "
                   "groups of all others, and the scorer are worth. Colours are fifths of each "
                   f"table, from the best, {HEAT[0]}, to the worst, {HEAT[-1]}.",
                   "\n\n".join(parts))


HEAT = "\U0001f7e9\U0001f7e8\U0001f7e7\U0001f7e5\U0001f7eb"  # green, yellow, orange, red, brown


def goodness(row):
    """More is better."""
    better = {"ppl": lambda found: -found["ppl"], "kld": lambda found: -found["mean"]}
    return better.get(row["task"], lambda found: found["accuracy"])(row["metrics"])


def ranks(values):
    """For each place the fifth it is in among the distinct values, 0 = best."""
    distinct = sorted(set(values.values()), reverse=True)
    return {place: len(HEAT) * distinct.index(value) // len(distinct)
            for place, value in values.items()}


def cell(rows, place, show, heat):
    if place not in rows:
        return ""
    row = rows[place]
    return f"{HEAT[heat[place]]} {show(row['metrics'])} ({row['cache']['bits_per_value']:.2f})"


PARTS = {"eval-suite.json": suite, "eval-predicted.json": predicted,
         "eval-uniform.json": uniform, "eval-keys.json": keys,
         "eval-bytes-rtn4.json": at_bytes, "eval-paired-rtn4.json": at_bytes,
         "eval-paired-rtn3.json": at_bytes, "eval-paired-rtn2.json": at_bytes,
         "eval-bytes-mikv.json": at_bytes, "eval-paired-keep.json": same_keep,
         "eval-paired-own.json": own_size,
         "eval-tasks.json": other_tasks,
         "eval-sensitivity.json": sensitivity}


def tables(results_dir):
    found = [(part, common.load(results_dir, name)) for name, part in PARTS.items()]
    return "\n\n".join(part(result) for part, result in found if result)
