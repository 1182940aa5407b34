"""Writes docs/results.md, docs/selectors.md and the measured parts of docs/kvcrush.md,
docs/mikv.md, docs/higgs.md and README.md from the JSON outputs in results/, so that no figure is
typed by hand.

usage: build.py [--check]      (./dev results does the same)

Every other module in this folder contributes a part of results.md: its function
`tables(results_dir)` returns Markdown, or an empty text when its files are missing. Parts stand in
the order of their files' names. selectors.md is a document of its own; in kvcrush.md, mikv.md,
higgs.md and README.md the parts between markers are written. --check writes nothing; exit code 1 if
a document is not what would be written.
"""

import importlib
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
RESULTS = os.path.join(ROOT, "results")
DOCS = os.path.join(ROOT, "docs")

HEAD = """# Results

Written by `./dev results` from the files in `results/`; each of them holds the command that made
it, the machine and the rows. To measure anew, run that command on your machine, keep its output in
the same file, and run `./dev results`.
"""


def modules():
    names = (name[:-3] for name in sorted(os.listdir(HERE)) if name.endswith(".py"))
    return [importlib.import_module(name) for name in names
            if name != "build" and not name.endswith("_test")]


def document(results_dir, parts):
    texts = [part.tables(results_dir).strip() for part in parts if hasattr(part, "tables")]
    return "\n".join([HEAD] + [text + "\n" for text in texts if text])


def documents():
    """{path below docs/: text}"""
    import crush
    import pages
    import readme
    import selectors_page
    return {"results.md": document(RESULTS, modules()),
            "../README.md": readme.document(RESULTS),
            "kvcrush.md": crush.document(RESULTS),
            **{page: pages.document(page, RESULTS) for page in pages.PARTS},
            "selectors.md": selectors_page.document(RESULTS)}


def main(arguments):
    if arguments not in ([], ["--check"]):
        sys.exit("usage: build.py [--check]")
    sys.path.insert(0, HERE)
    for name, text in documents().items():
        path = os.path.join(DOCS, name)
        if arguments:
            with open(path, encoding="utf-8") as file:
                if file.read() != text:
                    sys.exit(f"docs/{name} is not what results/ says; ./dev results mends it")
            continue
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])
