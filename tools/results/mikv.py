"""The measured parts of docs/mikv.md, between its marks, from results/eval-*.json by
measure_quality.py. The prose around them is written in the document itself."""

import os

import common
import quality

DOCUMENT = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "mikv.md")
PARTS = ("mikv-parts", "mikv-bits", "paired-rtn4", "paired-rtn3")


def part(result):
    return "\n\n".join([quality.pivot(result), quality.protocol(result),
                        common.provenance(result)]) if result else ""


def document(results_dir, path=DOCUMENT):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for name in PARTS:
        text = common.written(text, name, part(common.load(results_dir, f"eval-{name}.json")))
    return text
