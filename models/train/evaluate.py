"""A compressed cache is judged by what it loses, so the exact cache has to be measured first.

Retrieval counts a sample only when greedy decoding yields the whole answer; book text is scored
in bits per byte. Each task has its own seed, so asking for other tasks does not change a result.
"""
import math
import random

import numpy as np
import torch
import torch.nn.functional as F

from tasks import (PASSKEY_OVERHEAD, Tasks, lines_prompt, lines_question, pairs_prompt,
                   pairs_question)

SIZES, DEPTHS = (500, 1000, 1500, 2000, 3000, 4000), (0.0, 0.25, 0.5, 0.75, 1.0)
WINDOW = 2048           # of the book score, at any context, so that models compare


def lines_sample(tasks, n, numbered, limit=None):
    """(prompt, answer) over n lines, or over as many as `limit` tokens hold."""
    keys = tasks.line_keys(n, numbered)
    values = [tasks.digits(5) for _ in keys]
    if limit:
        room = limit - tasks.size(lines_prompt([], [])) - tasks.size(lines_question(keys[0])) - 8
        body = (f"line {k}: REGISTER_CONTENT is <{v}>\n" for k, v in zip(keys, values))
        for n, line in enumerate(body):
            room -= tasks.size(line)
            if room < 0:
                break
    i = tasks.rng.randrange(n)
    return lines_prompt(keys[:n], values[:n]) + lines_question(keys[i]), values[i]


def pairs_sample(tasks, n, as_words):
    keys = tasks.distinct(n, lambda: tasks.rng.choice(tasks.words))
    values = [tasks.rng.choice(tasks.words) if as_words else tasks.digits(4) for _ in keys]
    i = tasks.rng.randrange(n)
    return pairs_prompt(keys, values) + pairs_question(keys[i]), " " + values[i]


def passkey_sample(tasks, tokens, depth, book=None):
    room = tokens - PASSKEY_OVERHEAD
    sentences = tasks.filler(room) if book is None else tasks.book_sentences(book, room)
    segments = [text for text, _ in tasks.passkey(sentences, depth)]
    return "".join(segments[:-2]), segments[-2][:5]


@torch.no_grad()
def exact_match(model, tasks, make, samples):
    """Greedy decoding yields the answer if each of its tokens is the arg max after the others."""
    right = tokens = 0
    for _ in range(samples):
        prompt, answer = make()
        prompt = [tasks.tokenizer.end] + tasks.tokenizer.encode(prompt)
        answer = torch.tensor(tasks.tokenizer.encode(answer), device=model.cos.device)
        ids = torch.tensor([prompt], device=model.cos.device)
        hidden = model.hidden(torch.cat((ids, answer[None]), 1))[0, len(prompt) - 1:-1]
        right += bool((model.logits(hidden).argmax(-1) == answer).all())
        tokens += len(prompt)
    return {"exact_match": right / samples, "samples": samples,
            "mean_prompt_tokens": round(tokens / samples, 1)}


@torch.no_grad()
def bits_per_byte(model, ids, text_bytes, window):
    """Every token is scored once; after the first window, with half a window before it."""
    ids = torch.from_numpy(np.asarray(ids, np.int64)).to(model.cos.device)
    nats, scored, start = 0.0, 1, 0
    while scored < len(ids):
        end = min(start + window, len(ids))
        hidden = model.hidden(ids[None, start:end - 1])[0, scored - start - 1:]
        nats += F.cross_entropy(model.logits(hidden), ids[scored:end], reduction="sum").item()
        scored, start = end, start + window // 2
    return {"bits_per_byte": nats / math.log(2) / text_bytes,
            "nats_per_token": nats / (len(ids) - 1), "tokens": len(ids) - 1, "window": window}


def task_list(tasks, book, context):
    """Name -> function that makes one (prompt, answer), for all sizes that fit the context."""
    out, sizes = {}, [s for s in SIZES if s < context]
    for name, numbered in (("lines", False), ("lines_numbered", True)):
        for n in (10, 30, 50, 90):
            out[f"{name}_{n}"] = lambda n=n, k=numbered: lines_sample(tasks, n, k)
        for size in (s for s in sizes if s >= 2000):
            out[f"{name}_fit_{size}"] = (
                lambda s=size, k=numbered: lines_sample(tasks, s // 15, k, limit=s))
    for n in (30, 100):
        out[f"pairs_digits_{n}"] = lambda n=n: pairs_sample(tasks, n, False)
        out[f"pairs_words_{n}"] = lambda n=n: pairs_sample(tasks, n, True)
    for name, text in (("filler", None), ("book", book)):
        for size in sizes:
            for depth in DEPTHS:
                out[f"passkey_{name}_{size}_{depth}"] = (
                    lambda t=text, s=size, d=depth: passkey_sample(tasks, s, d, t))
    return out


def evaluate(model, corpus, samples, seed, only, results, done):
    """Adds to `results` each task whose name begins with one of `only` ("" begins all).

    What `results` already holds is not measured again; `done(name)` is called after each task.
    """
    def wanted(name):
        return name.startswith(tuple(only)) and name not in results

    tasks = Tasks(random.Random(), corpus.tokenizer, corpus.words)
    if wanted("bits_per_byte"):
        size = len(corpus.tokenizer.decode(corpus.valid.tolist()).encode("utf-8"))
        results["bits_per_byte"] = bits_per_byte(model, corpus.valid, size,
                                                 min(WINDOW, model.config.context))
        done("bits_per_byte")
    for name, make in task_list(tasks, corpus.valid, model.config.context).items():
        if wanted(name):
            tasks.rng.seed(f"{seed}/{name}")
            results[name] = exact_match(model, tasks, make, samples)
            done(name)
