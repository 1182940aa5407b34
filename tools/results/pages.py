"""The measured parts of docs/mikv.md and docs/higgs.md, between their marks, from
results/eval-*.json by measure_quality.py. The prose around them stands in the documents."""

import os

import common
import quality

DOCS = os.path.join(os.path.dirname(__file__), "..", "..", "docs")
PARTS = {"mikv.md": ("mikv-parts", "mikv-bits", "paired-keep", "paired-rtn4", "paired-own",
                     "paired-rtn3", "paired-rtn2"),
         "higgs.md": ("higgs",)}


def part(result):
    return "\n\n".join([quality.pivot(result), quality.protocol(result),
                        common.provenance(result)]) if result else ""


def document(page, results_dir):
    with open(os.path.join(DOCS, page), encoding="utf-8") as file:
        text = file.read()
    for name in PARTS[page]:
        text = common.written(text, name, part(common.load(results_dir, f"eval-{name}.json")))
    return text
