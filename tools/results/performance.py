"""How fast: tables of results/bench-*.json, each one output of `kvkeep bench ... --json`."""

import os

from common import load, provenance, table

ATTENTION = (("bench-attention.json", "Decode attention, layout by layout"),
             ("bench-attention-contexts.json", "Contexts and groups of query heads"),
             ("bench-attention-groups.json", "Groups of quantization, mixed pairs"),
             ("bench-attention-exact.json", "Codes widened to float32 (`attend=exact`)"),
             ("bench-attention-isas.json", "Instruction sets in turn"))
DECODE = (("bench-decode.json", "The embedded model"),
          ("bench-decode-random.json", "Random weights: 8 layers, 32/8 heads of 128 channels"),
          ("bench-decode-steal.json", "With one of two cores taken away"))
INTRO = """## Speed

Everything that is compared was measured in turn in each of several rounds, and ratios were taken
inside rounds: figures are medians, with the extremes in brackets. *Of read* is the share of the
rate at which a plain loop reads the same bytes in the same round; *x f16* is how many times as fast
as the f16 cache of the same shape. A *kv token* is the keys and values of one token of one kv head,
read for all query heads of its group."""


def spread(row, key, digits):
    if key not in row:
        return ""
    return f"{row[key]:.{digits}f} ({row[key + '_min']:.{digits}f}-{row[key + '_max']:.{digits}f})"


def layouts(row):
    return row["layout_k"] + ("" if row["layout_k"] == row["layout_v"] else "/" + row["layout_v"])


def tokens(count):
    return f"{count // 1024}K" if count and count % 1024 == 0 else str(count)


def section(result, title, parts):
    load_average = result["machine"].get("load_average")
    note = "" if load_average is None else f" Load average before it: {load_average:.1f}."
    note += f" {result['rounds']} rounds." if "rounds" in result else ""
    stopped = " The run was stopped before its end." if result.get("interrupted") else ""
    return "\n\n".join([f"### {title}", provenance(result) + note + stopped] + parts)


def attention(result, title):
    rows = result["results"]
    threads = sorted({row["threads"] for row in rows})
    groups = {}
    for row in rows:
        key = (row["isa"], row["context"], row["gqa_ratio"], layouts(row))
        groups.setdefault(key, {})[row["threads"]] = row
    several = len({row["isa"] for row in rows}) > 1
    titles = ["kernels"] * several + ["context:", "gqa:", "keys/values"]
    for count in threads:
        titles += [f"ns a kv token, {count} thr.:", "GB/s:", "of read:", "x f16:"]
    lines = []
    for (isa, context, gqa, name), by_threads in groups.items():
        line = [isa] * several + [tokens(context), gqa, f"`{name}`"]
        for count in threads:
            row = by_threads[count]
            line += [spread(row, "ns_per_kv_token", 1), f"{row['gb_per_s']:.1f}",
                     spread(row, "fraction_of_read", 2), spread(row, "speed_up_over_f16", 2)]
        lines.append(line)
    return section(result, title, [table(titles, lines)])


def memory(result):
    reads, blocks = result["results"]["reads"], result["results"]["blocks"]
    counts = sorted({row["threads"] for row in reads})
    sizes = sorted({row["bytes"] for row in reads})
    rate = {(row["bytes"], row["threads"]): spread(row, "gb_per_s", 1) for row in reads}
    first = table(["working set:"] + [f"GB/s, {count} thr.:" for count in counts],
                  [[f"{size // 1024} KiB"] + [rate[size, count] for count in counts]
                   for size in sizes])
    second = table(["blocks of", "bytes:", "threads:", "on huge pages:", "sequential GB/s:",
                    "head by head:", "extents at random:", "blocks at random:"],
                   [[f"`{layouts(row)}`", row["block_bytes"], row["threads"],
                     f"{100 * row['huge_page_share']:.0f} %", f"{row['sequential_gb_per_s']:.1f}",
                     f"{row['by_head_of_sequential']:.2f}", spread(row, "extents_of_sequential", 2),
                     spread(row, "random_of_sequential", 2)]
                    for row in blocks])
    return section(result, "Memory", [first, "Blocks of 64 tokens from the pool, as shares of the "
                                      "sequential rate:", second])


def compress(result):
    results = result["results"]
    encode = table(["keys/values", "rows at once:", "G values/s of one core:"],
                   [[f"`{layouts(row)}`", row["rows"], spread(row, "g_values_per_s", 3)]
                    for row in results["encode"]])
    prompt = table(["plan", "tokens:", "share of the prompt's time:", "seconds:"],
                   [[f"`{row['plan']}`", row["tokens"],
                     f"{100 * row['share']:.1f} % ({100 * row['share_min']:.1f}-"
                     f"{100 * row['share_max']:.1f})", f"{row['cpu_seconds']:.3f}"]
                    for row in results["prompt"]])
    slices = table(["past", "queries:", "G pairs/s:", "of f16:"],
                   [[f"{row['past']} tokens of `{layouts(row)}`", row["queries"],
                     f"{row['g_pairs_per_s']:.3f}", spread(row, "of_f16", 2)]
                    for row in results["slices"]])
    scores = table(["plan", "phase", "context:", "extra time:"],
                   [[f"`{row['plan']}`", row["phase"], tokens(row["context"]),
                     f"{100 * row['extra']:.1f} % ({100 * row['extra_min']:.1f} to "
                     f"{100 * row['extra_max']:.1f})"] for row in results["scores"]])
    reads = table(["plan", "context:", "ms unpacking:", "ms attention:", "of f16:", "of u4:"],
                  [[f"`{row['plan']}`", tokens(row["context"]),
                    f"{1e3 * row['unpack_seconds']:.2f}", f"{1e3 * row['attend_seconds']:.2f}",
                    spread(row, "of_f16", 1), spread(row, "of_u4", 1)] for row in results["reads"]])
    crush = table(["what", "tokens:", "measured:"],
                  [[f"choice among {row['heads']} heads", tokens(row["tokens"]),
                    f"{1e3 * row['seconds']:.2f} ms ({1e3 * row['seconds_min']:.2f}-"
                    f"{1e3 * row['seconds_max']:.2f})"] for row in results["crush"]] +
                  [[f"`{row['plan']}`: share of a decode step", tokens(row["context"]),
                    f"{100 * row['of_step']:.2f} % ({100 * row['of_step_min']:.2f}-"
                    f"{100 * row['of_step_max']:.2f})"] for row in results["crush_steps"]])
    return section(result, "Compression", [
        "Rows that go down a tier, from reading them to packing their codes:", encode,
        "What compressing takes of reading a prompt:", prompt,
        "New prompt tokens that attend over a past in memory, pairs of a query row and a token:",
        slices, "Attention handed to the scorer, time over the same read without it:", scores,
        "One token's read of one layer of 8 kv_heads of 128 from chunks, unpacked and attended to, "
        "and that over attention to an f16 or u4 cache of the same tokens:", reads,
        "Representatives (KVCrush): signatures, distances and picks on one core:", crush])


def times(row, engine):
    for rival in row.get("rivals", []):
        if rival["engine"] == engine:
            return spread(rival, "times", 1)
    return ""


def decode(result, title):
    rows, rivals = result["results"], result["rivals"]
    steal = any("slow_down" in row for row in rows)
    titles = ["engine", "plan or mode", "depth:", "cache MiB:", "tokens/s:", "ns a kv token:"]
    titles += [f"x {rival['engine']}:" for rival in rivals]
    titles += ["x time with a core less:"] if steal else []
    lines = []
    for row in rows:
        line = [row["engine"], f"`{row['mode']}`", tokens(row["depth"]),
                f"{row['cache_bytes'] / 2**20:.1f}", spread(row, "tokens_per_s", 1),
                spread(row, "ns_per_kv_token", 1)]
        line += [times(row, rival["engine"]) for rival in rivals]
        line += [spread(row, "slow_down", 2)] if steal else []
        lines.append(line)
    parts = [table(titles, lines)]
    if result["made_up_rows"]:
        parts.insert(0, "The caches are filled with made-up rows: reading such a prompt would take "
                        "hours and leave the same bytes to read.")
    for rival in rivals:
        name = rival["engine"]
        parts.append(f"{name} is {rival['version']}; its best mode at the greatest depth is "
                     f"`{rival['best_mode']}`. *x {name}* compares what the cache adds to a token, "
                     "against its best mode at that depth.")
    return section(result, title, parts)


def figure(measured, wanted):
    """Two digits, or as many as tell it from the bar."""
    digits = next((d for d in (2, 3) if round(measured, d) != wanted), 4)
    return f"{measured:.{digits}f}"


def bars(result):
    lines = []
    for bar in result.get("bars", []):
        sign, wanted = ("<=", bar["at_most"]) if "at_most" in bar else (">=", bar["at_least"])
        lines.append([bar["what"], bar["threads"], f"{sign} {wanted:.2f}",
                      figure(bar["measured"], wanted), "met" if bar["met"] else "missed"])
    return "What is demanded here:\n\n" + table(
        ["bar", "threads:", "wanted:", "measured:", ""], lines) if lines else ""


def tables(results_dir):
    if not os.path.isdir(results_dir):
        return ""
    parts = []

    def add(name, write):
        result = load(results_dir, name)
        if result is not None:
            parts.extend([write(result), bars(result)])

    for name, title in ATTENTION:
        add(name, lambda result, title=title: attention(result, title))
    add("bench-memory.json", memory)
    add("bench-compress.json", compress)
    for name, title in DECODE:
        add(name, lambda result, title=title: decode(result, "Whole engine: " + title))
    if not parts:
        return ""
    return "\n\n".join(part for part in [INTRO, *parts] if part)
