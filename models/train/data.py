"""What so small a model can do is decided by its mix: how much book, which tasks, how long.

A batch is a function of (seed, step) alone. So a resumed run sees what an uninterrupted one would
have seen, and any number of loader processes gives the same batches.
"""
import collections
import json
import lzma
import os
import random
import re
from dataclasses import dataclass, field

import numpy as np
import torch

from bpe import Tokenizer, train_bpe
from tasks import FAINT, PASSKEY_OVERHEAD, Tasks


@dataclass(frozen=True)
class Stage:
    """One part of a schedule; it lasts until the share `until` of all steps."""
    until: float
    tasks: float                # rows that hold tasks; the others are book text
    lines: float                # shares of the task kinds; what is left over is passkey
    pairs: float
    copy: float
    passkey_weight: float       # loss weight of a passkey answer, relative to the others
    full: bool                  # tasks may fill the context to its last tokens
    early: float                # how often the wanted thing stands at the very start
    lengths: dict = field(default_factory=dict)     # share of the context: how often

    def length(self, rng, context):
        part, = rng.choices(list(self.lengths), list(self.lengths.values()))
        return int(context * part)


SCRATCH = [
    Stage(0.08, 0.50, 0.35, 0.25, 0.33, 1.0, False, 0.0, {1 / 8: 5, 1 / 4: 5}),
    Stage(0.12, 0.50, 0.35, 0.25, 0.33, 1.0, False, 0.0, {1 / 8: 2, 1 / 4: 5, 1 / 2: 3}),
    Stage(0.25, 0.35, 0.50, 0.20, 0.12, 1.0, False, 0.0, {1 / 8: 2, 1 / 4: 5, 1 / 2: 3}),
    Stage(0.44, 0.35, 0.50, 0.20, 0.12, 1.0, False, 0.1, {1 / 4: 4, 1 / 2: 4, 1: 2}),
    Stage(0.55, 0.40, 0.48, 0.16, 0.08, 2.5, False, 0.1, {1 / 4: 3, 1 / 2: 4, 1: 3}),
    Stage(0.90, 0.40, 0.48, 0.16, 0.08, 2.5, False, 0.2, {1 / 4: 2, 1 / 2: 4, 1: 4}),
    Stage(1.00, 0.50, 0.35, 0.07, 0.03, 2.5, True, 0.4, {1 / 2: 2, 1: 8})]
CONTINUE = [
    Stage(0.70, 0.45, 0.45, 0.07, 0.03, 2.5, True, 0.5, {1 / 2: 2, 1: 8}),
    Stage(1.00, 0.40, 0.45, 0.05, 0.02, 2.5, True, 0.6, {1: 1})]
SCHEDULES = {"scratch": SCRATCH, "continue": CONTINUE}


def read_text(path):
    """A text file, packed with xz or not."""
    with (lzma.open if path.endswith(".xz") else open)(path, "rb") as f:
        return f.read().decode("utf-8", "replace")


def encode_books(text, tokenizer):
    """Token ids; each book begins with the end-of-text token. Books end with a NUL byte."""
    books = (b.strip("\n") for b in text.split("\0"))
    rows = [np.array([tokenizer.end] + tokenizer.encode(b), np.uint16) for b in books if b]
    return np.concatenate(rows)


def frequent_words(text):
    """Plain words for keys and values, without the 60 most frequent ones."""
    count = collections.Counter(re.findall(r"\b[a-z]{3,8}\b", text))
    return [w for w, _ in count.most_common(1200)][60:]


def sample_text(text, parts=40, size=150_000):
    step = len(text) // parts
    return "".join(text[i * step:i * step + size] for i in range(parts)).replace("\0", "")


def learn_tokenizer(sample, words, size):
    """BPE over books and a little task text, so that the words of the tasks are short too."""
    tasks = Tasks(random.Random(1), Tokenizer(["<|endoftext|>", "<|pad|>"], []), words)
    extra = ""
    while len(extra) < 300_000:
        extra += "".join(t for t, _ in tasks.lines(30, 15) + tasks.pairs(40, 20))
    return train_bpe(sample + "\n" + extra, size)


def prepare(books, valid, out, vocab, tokenizer=None):
    """Writes tokenizer.json, train.npy and valid.npy to the folder `out`."""
    os.makedirs(out, exist_ok=True)
    text = read_text(books)
    sample = sample_text(text)
    words = frequent_words(sample)
    tokenizer = tokenizer or learn_tokenizer(sample, words, vocab)
    with open(os.path.join(out, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump({"tokens": tokenizer.tokens, "merges": tokenizer.merges, "words": words}, f)
    for name, body in (("train", text), ("valid", read_text(valid))):
        np.save(os.path.join(out, name + ".npy"), encode_books(body, tokenizer))


class Corpus:
    """The prepared folder."""

    def __init__(self, folder):
        with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as f:
            saved = json.load(f)
        self.tokenizer, self.words = Tokenizer(saved["tokens"], saved["merges"]), saved["words"]
        self.train = np.load(os.path.join(folder, "train.npy"), mmap_mode="r")
        self.valid = np.load(os.path.join(folder, "valid.npy"), mmap_mode="r")


class Batches(torch.utils.data.Dataset):
    """Batch number `step`: (ids [rows, length + 1], loss weights of the same shape)."""

    def __init__(self, corpus, schedule, steps, tokens, context, seed, answer_weight=2.0):
        self.corpus, self.schedule, self.steps = corpus, schedule, steps
        self.tokens, self.context, self.seed = tokens, context, seed
        self.answer_weight = answer_weight

    def __len__(self):
        return self.steps

    def __getitem__(self, step):
        rng = random.Random(f"{self.seed}/{step}")
        stage = next(s for s in self.schedule if step < s.until * self.steps)
        length = stage.length(rng, self.context)
        tasks = Tasks(rng, self.corpus.tokenizer, self.corpus.words)
        rows = [self.row(rng, tasks, stage, length + 1) for _ in range(self.tokens // length)]
        ids, weights = zip(*rows)
        return torch.from_numpy(np.stack(ids)), torch.from_numpy(np.stack(weights))

    def row(self, rng, tasks, stage, length):
        if rng.random() >= stage.tasks:
            at = rng.randrange(len(self.corpus.train) - length)
            return self.corpus.train[at:at + length].astype(np.int64), np.ones(length, np.float32)
        ids, weights = [], []
        while len(ids) < length:
            segments = self.task(rng, tasks, stage, length - len(ids) - 1)
            for text, weight in [("", FAINT), *segments]:
                new = tasks.tokenizer.encode(text) if text else [tasks.tokenizer.end]
                ids += new
                weights += [weight * self.answer_weight if weight >= 1 else weight] * len(new)
        return np.array(ids[:length], np.int64), np.array(weights[:length], np.float32)

    def task(self, rng, tasks, stage, room):
        """A task of about `room` tokens: a list to remember, and questions for the rest."""
        kind = rng.random() - stage.lines
        if room < 130:
            return tasks.copy(max(3, room // 6), 2)
        if kind < 0:
            share = rng.uniform(0.6, 0.98) if stage.full else rng.uniform(0.3, 0.85)
            n = max(2, int((room - 60) * share / 19))
            return tasks.lines(n, max(1, (room - n * 19) // 36), stage.early)
        if kind < stage.pairs:
            n = min(max(2, int(room * rng.uniform(0.3, 0.8) / 7.5)), len(tasks.words) // 4)
            return tasks.pairs(n, max(1, int((room - n * 7.5) / 15) + 2))
        if kind < stage.pairs + stage.copy:
            n = int(min(room, rng.randint(100, self.context)) / 4.6)
            return tasks.copy(max(3, n), rng.choice([2, 2, 3]))
        return self.passkey(rng, tasks, stage, room)

    def passkey(self, rng, tasks, stage, room):
        depth = rng.random() * (0.03 if rng.random() < stage.early else 1)
        room -= PASSKEY_OVERHEAD
        room = int(room * (1 - rng.random() ** 2 * 0.4 if stage.full else rng.uniform(0.5, 0.95)))
        if rng.random() < 0.5:
            sentences = tasks.filler(room, mixed=rng.random() < 0.3)
        else:
            sentences = tasks.book_sentences(self.corpus.train, room)
        return tasks.passkey(sentences, depth, stage.passkey_weight)
