"""docs/selectors.md: a section a family of scorers and budgets, with what the registry says of each
method (docs/methods.md, which a test holds against the binary) and what results/eval-selectors.json
measured of its preset.

A scorer or budget of the registry that no family names is an error, so none can be forgotten.
"""

import os

import common
import quality

METHODS = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "methods.md")

HEAD = """# Selectors and budgets

Written by `./dev results` from [methods.md](methods.md) and `results/`; the prose is in
`tools/results/selectors_page.py`. A selector is a plan's `scorer`: it ranks the tokens of every
(layer, kv_head), and the best stay exact or high. A `budget` says how many stay where. Every
scorer works with every budget and on every ladder: `mikv:scorer=keydiff,budget=ada` keeps what
KeyDiff likes exact and all else at 2 bits, with more exact tokens for heads that look at many.

Rules for all of them: sinks, prefix and the newest window are pinned and never compete; of equal
scores the newer token stays; a score that is not a number counts as the lowest; a share smaller
than what is pinned gives way to it; a text shorter than its budget stays whole. Scores that come
from attention cost 2 bytes a ranked token, those that look at keys cost none. While decoding,
rows leave in batches of `demote`, and a scorer that looks at keys reads the rows of its tier once
a batch.
"""

FAMILIES = [
    ("Attention since the beginning", ["h2o", "zipcache"],
     ["h2o", "h2o:scorer=zipcache"], """
Sums of attention are the classic. `h2o` adds up what every row paid, which favours early tokens
that more rows could see; `norm=rows` and `zipcache`, which asks random rows only, divide by the
number of rows that could."""),
    ("Attention of the last rows", ["snapkv", "tova", "morphkv"],
     ["snapkv", "tova", "morphkv", "morphkv:quota=growing"], """
Only the newest rows vote: the last `window` of them with votes pooled over neighbours (`snapkv`),
the newest 16 without pooling at constant size (`morphkv`), the very last (`tova`). They know what
the text is about now; after the compression a question may ask for something else."""),
    ("Persistence", ["scissorhands"], ["scissorhands"], """
Counts instead of sums: each of the last rows votes against every token that it pays less than
the mean of all it sees. One row with a strong opinion weighs as much as one with a weak one.
Votes are taken for every q_head and averaged."""),
    ("Keys alone", ["knorm", "keydiff"], ["knorm", "keydiff"], """
No attention is observed and no score is stored. `knorm` keeps keys of small norm, `keydiff` keys
that point elsewhere than the mean key. Keys are taken as they lie in the cache, after RoPE."""),
    ("What codes would do", ["damage"], ["mikv", "mikv-h2o"], """
Not which tokens are looked at but which would suffer: the rounding error of a key at 2 bits, times
a power of its length. Made for tiers below which tokens stay, and the default of `mikv`, which is
shown here beside the same tail under `h2o`; it is no policy of eviction.
[mikv.md](mikv.md) says why and what its parts do."""),
    ("Attention to come", ["expected"], ["expected", "expected:recent=0.5"], """
Queries before RoPE are taken as Gaussian; their mean and covariance are learned from the prompt,
for each q_head, and turned to the next `future` positions. That costs head_dim (head_dim + 1)
floats a q_head, which the report counts as `statistics`."""),
    ("Diversity", ["bumblebee"], ["bumblebee"], """
A submodular mixture chosen greedily: how well the kept keys stand for all keys (facility location
over cosines) and the square root of the attention they hold. The choice depends on what else
stays, so its scores are places in the order of picks; a budget that compares scores of heads
(`ada`) learns little from them."""),
    ("Controls", ["recency", "random"], ["streaming", "random"], """
What any scorer must beat. `recency` with sinks is StreamingLLM."""),
    ("Budgets", ["uniform", "pyramid", "shares", "ada"],
     ["snapkv", "pyramidkv", "adakv", "snapkv:budget=shares:of=3/2/1/1/1/1", "mikv",
      "mikv:budget=pyramid", "mikv:budget=ada"], """
The same sum of tokens, spread differently; pinned tokens are the same in every head. `uniform`
gives every head the same, or with `align=blocks` the nearest whole blocks. `shares` follows a
given map (of layers or of heads, found by whatever means). `pyramid` takes from deep layers and
gives to the first, along a line. `ada` lets the kv_heads of a layer compete: each head's scores
are brought to a sum of 1, the best of the layer stay wherever they are, and no head gets less
than its pinned tokens and `floor` of the mean. It is allocated when a prompt is compressed and
again when the text has grown by a quarter; with `quota=fixed` once. Only rows that are still
there compete, so nothing drifts from turn to turn. What a head does not hold is freed: heads have
tiers of their own, and the last block of each is the only slack. The rows below are `snapkv` and
`mikv` under three budgets."""),
]

MEASURED = """
Every preset at its own size; a fifth of the tokens stay, but for `morphkv`, whose constant
size is a fifth of the prompt. `kld` reads on in the text; `lines`, `passkey` and `kv_recall`
ask for one place of it after the compression. Windows differ, as the papers' do, and on `kld`
the newest tokens matter most. Four things stand out on the embedded model. A selector alone
does not answer questions that come later: on `lines` and `kv_recall` all are far below the plan
that keeps the other tokens at 2 bits. Keys unlike the rest are what hides: `keydiff` finds pass
keys and half as many lines as 2 bits do, though it predicts text worse than most. Above a 2-bit
tail another thing counts: what is looked at need not be exact, what rounds badly must (`mikv`
beside `mikv-h2o`; [mikv.md](mikv.md)). And fewer tokens in deep layers (`pyramid`) predict text
best at equal size: half the divergence where the others are lost, a sixth less with 2-bit tails,
within the intervals. For comparison, the exact cache, and 2-bit tails:"""


def registry(path):
    """{(slot, method): [what it does, observes, origin]} and {(slot, method): parameters}."""
    rows, params, slot = {}, {}, ""
    with open(path, encoding="utf-8") as file:
        for line in file:
            cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
            if line.startswith("## Slot"):
                slot = line.split("`")[1]
            elif line.startswith("| `") and slot and len(cells) == 4:
                rows[slot, cells[0].strip("`")] = cells[1:]
            elif line.startswith("| `") and slot and len(cells) == 5:
                params.setdefault((slot, cells[0].strip("`")), []).append(
                    f"`{cells[1].strip('`')}={cells[2].strip('`')}`")
    return rows, params


# What all budgets share is said once, in methods.md.
AMOUNTS = {"keep", "mid_keep", "recent", "quota", "sinks", "prefix", "window", "demote"}


def describe(methods, slot, rows, params):
    body = []
    for method in methods:
        what, observes, origin = rows[slot, method]
        own = [text for text in params.get((slot, method), [])
               if slot != "budget" or text.strip("`").split("=")[0] not in AMOUNTS]
        body.append([f"`{method}`", what, observes, " ".join(own) or "-", origin])
    return common.table(["method", "what it does", "observes", "parameters", "origin"], body)


def measured(rows, presets):
    """The lines of some presets, cut from the table of all of them."""
    found = [row for row in rows if row["preset"] in presets]
    order = {preset: place for place, preset in enumerate(presets)}
    found.sort(key=lambda row: order[row["preset"]])
    return quality.pivot({"results": found}) if found else ""


def family(entry, found, rows):
    title, methods, presets, prose = entry
    slot = "budget" if title == "Budgets" else "scorer"
    parts = [f"## {title}", prose.strip(), describe(methods, slot, *found),
             measured(rows, presets)]
    return "\n\n".join(part for part in parts if part)


def document(results_dir):
    found = registry(METHODS)
    known = {method for _, methods, _, _ in FAMILIES for method in methods}
    for slot, method in found[0]:
        if slot in ("scorer", "budget") and method not in known:
            raise ValueError(f"no family in selectors_page.py names the {slot} {method}")
    results = [common.load(results_dir, f"eval-{name}.json") for name in ("selectors", "variants")]
    results = [result for result in results if result]
    rows = [row for result in results for row in result["results"]]
    parts = [HEAD] + [family(entry, found, rows) + "\n" for entry in FAMILIES]
    if results:
        parts.append("\n\n".join(
            ["## What was measured", MEASURED.strip(), measured(rows, ["f16", "mikv", "mikv-h2o"]),
             quality.protocol(results[0])] + [common.provenance(result) for result in results])
            + "\n")
    return "\n".join(parts)
