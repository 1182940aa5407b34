"""What the parts of docs/results.md share: reading a result, a table, the line that says whence."""

import json
import os


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


def provenance(result):
    """Command and machine of a result as one sentence."""
    machine = result["machine"]
    return (f"By `{result['command']}` on {machine['cpu']}, kernels {machine['isa']}, "
            f"{machine['threads']} threads, {machine['compiler']}.")
