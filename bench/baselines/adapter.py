"""What the adapters of llama.cpp and its relatives share: README.md has the questions they answer.

An engine (engine.py) makes the calls. Modes are cache types with flash attention on ("fa") and off;
values are quantized only with it.
"""

import json
import os
import sys
import time

from saved_state import stretched

READ_TOKENS = 512  # the most that are read as a prompt when more are wanted
MODES = {  # name: (type of keys, type of values, flash attention)
    "f16 fa": ("f16", "f16", True),
    "q8_0 fa": ("q8_0", "q8_0", True),
    "q4_0 fa": ("q4_0", "q4_0", True),
    "f16": ("f16", "f16", False),
    "q8_0/f16": ("q8_0", "f16", False),
    "q4_0/f16": ("q4_0", "f16", False),
}
TYPES = {"f16": 1, "q4_0": 2, "q8_0": 8}  # numbers of ggml


class Runner:
    """One context: a model, a mode, a cache of some depth."""

    def __init__(self, engine, model, question):
        keys, values, flash = MODES[question["mode"]]
        depth = question["depth"]
        self.engine, self.tokens = engine, 0
        self.vocabulary = engine.vocabulary(model)
        self.context = engine.open(model, TYPES[keys], TYPES[values], flash,
                                   -(-(depth + question["room"] + 1) // 256) * 256, READ_TOKENS,
                                   question["threads"])
        if not self.context:
            raise ValueError(f"{engine.name} refuses mode {question['mode']}")
        self.filled = self.fill(depth)

    def fill(self, depth):
        if depth == 0:
            return "empty"
        count = min(depth, READ_TOKENS)
        self.run([3 + i % (self.vocabulary - 3) for i in range(count)])
        if depth <= READ_TOKENS:
            return "read"
        engine = self.engine
        engine.set_state(self.context, stretched(engine.state(self.context), depth, engine.head,
                                                 engine.cell, engine.tail))
        last = engine.last_position(self.context)
        if last != depth - 1:
            raise ValueError(f"the stretched state ends at {last}, expected {depth - 1}")
        self.tokens = depth
        return "repeated"

    def run(self, tokens):
        code = self.engine.decode(self.context, tokens, self.tokens)
        if code != 0:
            raise ValueError(f"llama_decode says {code}")
        self.tokens += len(tokens)

    def close(self):
        self.engine.close(self.context)

    def decode(self, steps):
        start = time.perf_counter()
        for _ in range(steps):
            self.run([3 + self.tokens % (self.vocabulary - 3)])
        return time.perf_counter() - start

    def greedy(self, prompt, count):
        """Logits after the prompt, and the likeliest continuation."""
        self.run(prompt)
        first, tokens = self.engine.logits(self.context, self.vocabulary), []
        logits = first
        for _ in range(count):
            tokens.append(max(range(len(logits)), key=logits.__getitem__))
            self.run(tokens[-1:])
            logits = self.engine.logits(self.context, self.vocabulary)
        return {"logits": first, "tokens": tokens}


class Adapter:
    def __init__(self, engine):
        self.engine, self.models, self.runners, self.opened = engine, {}, {}, 0

    def model(self, path):
        if path not in self.models:
            self.models[path] = self.engine.load(path)
        if not self.models[path]:
            raise ValueError(f"{self.engine.name} cannot read {path}")
        return self.models[path]

    def open(self, question):
        return Runner(self.engine, self.model(question["model"]), question)

    def answer(self, question):
        if question["do"] == "hello":
            return {"engine": self.engine.name, "version": self.engine.version,
                    "system": self.engine.system(), "modes": list(MODES)}
        if question["do"] == "open":
            runner = self.open(question)
            self.opened += 1
            self.runners[self.opened] = runner
            return {"id": self.opened, "filled": runner.filled,
                    "cache_bytes": self.engine.state_size(runner.context)}
        if question["do"] == "decode":
            return {"seconds": self.runners[question["id"]].decode(question["steps"])}
        if question["do"] == "close":
            self.runners.pop(question["id"]).close()
            return {}
        if question["do"] == "greedy":
            prompt, count = question["prompt"], question["count"]
            runner = self.open({**question, "depth": 0, "room": len(prompt) + count})
            answer = runner.greedy(prompt, count)
            runner.close()
            return answer
        raise ValueError(f"unknown question {question['do']}")


def main(make_engine):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the library prints must not mix with the answers
    try:
        adapter = Adapter(make_engine())
    except ImportError as error:
        print(json.dumps({"error": f"{error}; ./dev bench --setup-rivals installs it"}),
              file=answers, flush=True)
        return
    for line in sys.stdin:
        try:
            answer = adapter.answer(json.loads(line))
        except Exception as error:  # whatever it is, the other side must hear of it
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
