"""The table of README.md, between its marks, from results/eval-*.json; the prose is in README.md.

A plan stands under what it does, in words; its figures are those of the first file that has it.
"""

import os

import common

DOCUMENT = os.path.join(os.path.dirname(__file__), "..", "..", "README.md")
FILES = ("eval-suite.json", "eval-uniform.json", "eval-keys.json", "eval-predicted.json")
PLANS = {
    "f16": "everything exact",
    "q8_0": "llama.cpp's 8-bit cache",
    "mikv-4": "important 20 % exact, the rest at 4 bits",
    "mikv": "important 20 % exact, the rest at 2 bits",
    "mikv-h2o": "the same as published: important is what was looked at most",
    "rtn4": "everything at 4 bits",
    "mikv-c": "important 5 % at 8 bits, other keys at 5, values at 3; keys centred, balanced, "
              "rotated",
    "q4_0": "llama.cpp's 4-bit cache",
    "mikv-s": "important 5 % at 8 bits, other keys at 4, values at 3; keys centred, balanced, "
              "rotated",
    "rtn2:low.k=u4gt": "everything: keys at 4 bits, values at 2",
    "mikv-g": "important 5 % at 4 bits, other keys at 3, values at 2, on Gaussian codebooks",
    "streaming": "first 4 and newest 20 %, the rest thrown away",
    "snapkv": "best 20 % exact, the rest thrown away",
    "h2o": "best 20 % exact, the rest thrown away",
    "rtn2": "everything at 2 bits",
    "kivi2": "KIVI at 2 bits: keys per channel",
    "aqua2-hot": "centred keys at 3 bits, values at 2, on Gaussian grids",
    "aqua2": "AQUA-KV: residuals at 2 bits of what the layer below predicts",
    "keep2": "important tokens exact, the rest as in AQUA-KV with values at 1 bit",
    "keep1": "keys as residuals at 1.5 bits, values predicted from them"}


def bits(cache):
    """Marginal, and in brackets with the predictors of one sequence where there are any."""
    marginal, all_in = (f"{cache[name]:.1f}" for name in ("bits_per_value_marginal",
                                                          "bits_per_value"))
    return marginal if marginal == all_in else f"{marginal} ({all_in})"


def table(results):
    rows = {}
    for result in results:
        known = set(rows)
        for row in result["results"]:
            if row["preset"] not in known:
                rows.setdefault(row["preset"], {})[row["task"]] = row
    body = [[f"`{plan}`", what, bits(rows[plan]["kld"]["cache"]),
             f"{rows[plan]['ppl']['metrics']['ppl']:.2f}",
             f"{rows[plan]['kld']['metrics']['mean']:.4f}",
             f"{100 * rows[plan]['lines']['metrics']['accuracy']:.0f} %"]
            for plan, what in PLANS.items() if {"ppl", "kld", "lines"} <= set(rows.get(plan, ()))]
    return common.table(["plan", "what it does", "bits per value:", "perplexity:",
                         "KL divergence:", "lines found:"], body)


def document(results_dir, path=DOCUMENT):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    body = table([found for found in (common.load(results_dir, name) for name in FILES) if found])
    return common.written(text, "table", body)
