"""The texts: no marker left to fill in, links that lead somewhere, a README of one page.

usage: docs.py FILE...    (Markdown files relative to the root, which is the current folder)

One line per violation on stdout, exit code 1 if there is any.
"""

import os
import re
import sys

README_LINES = 150
MARKER = "@@"  # stands where a measured value is still to come
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def violations(path, text):
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if MARKER in line:
            yield f"{path}:{number}: a value is still to be filled in ({MARKER})"
        for target in LINK.findall(line):
            outside = "://" in target or target.startswith("mailto:")
            if not outside and not os.path.exists(os.path.join(os.path.dirname(path), target)):
                yield f"{path}:{number}: link to {target}, which does not exist"
    if path == "README.md" and len(lines) > README_LINES:
        yield f"{path}: {len(lines)} lines, limit {README_LINES}"


def main(paths):
    found = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            found += violations(path, file.read())
    for line in found:
        print(line)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
