"""What the parts of docs/results.md share: reading a result, a table, the line that says whence."""

import json
import os
import random
import re


def load(results_dir, name):
    """The object in results/NAME, or None when there is no such file."""
    path = os.path.join(results_dir, name)
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def table(titles, rows):
    """A Markdown table; a title that ends with ':' is a column of numbers, aligned right."""
    lines = ["| " + " | ".join(title.rstrip(":") for title in titles) + " |",
             "|" + "|".join("---:" if title.endswith(":") else "---" for title in titles) + "|"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def written(text, name, body):
    """A document whose part between the marks of `name` is the body; its prose stays."""
    begin, end = f"<!-- {name}: written by ./dev results -->\n", f"<!-- end of {name} -->"
    body = f"\n{body}\n\n" if body else ""
    if begin not in text or end not in text:
        raise ValueError(f"no marks of {name}")
    return re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: begin + body + end, text,
                  flags=re.S)


def paired(*pairs, draws=2000, units="units"):
    """95 % of what the first row of a pair has above the second on the same units (samples,
    stretches of a text); of several pairs, in the mean."""
    draw, sums = random.Random(0), [0.0] * draws
    for row, other in pairs:
        differences = [a - b for a, b in zip(row[units], other[units], strict=True)]
        n = len(differences)
        sums = [total + sum(draw.choices(differences, k=n)) / n for total in sums]
    means = sorted(total / len(pairs) for total in sums)
    return means[draws // 40], means[draws - 1 - draws // 40]


def provenance(result):
    """Command and machine of a result as one sentence."""
    machine = result["machine"]
    return (f"By `{result['command']}` on {machine['cpu']}, kernels {machine['isa']}, "
            f"{machine['threads']} threads, {machine['compiler']}.")
