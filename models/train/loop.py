"""Training takes hours on whatever machine is at hand, so it must survive being stopped.

A checkpoint holds weights, optimizers and the step; batches depend on nothing else (data.py). It is
written beside the old one and renamed, every few minutes and when the run is interrupted.
"""
import math
import os
import signal
import sys
import time

import torch

from data import SCHEDULES, Batches
from model import Config, Model
from optim import optimizers


def say(text):
    print(text, file=sys.stderr, flush=True)


def learning_rate(step, steps, warmup, flat):
    """Share of the full rate: linear warm-up, flat until `flat` of the run, cosine to 1 %."""
    progress = (step / steps - flat) / (1 - flat)
    cosine = 0.5 * (1 + math.cos(math.pi * progress)) if progress > 0 else 1.0
    return min(1.0, (step + 1) / warmup) * max(0.01, cosine)


class Meter:
    """Mean loss of book tokens and of answers since the last line, speed and time left."""

    def __init__(self, first):
        self.begun, self.first = time.time(), first
        self.reset()

    def reset(self):
        self.since, self.tokens, self.sums = time.time(), 0, torch.zeros(2, 2, dtype=torch.float64)

    def add(self, losses, weights):
        for row, mask in zip(self.sums, (weights == 1, weights > 1)):
            row += torch.stack(((losses * mask).sum(), mask.sum())).double().cpu()
        self.tokens += losses.numel()

    def line(self, step, steps):
        book, answer = (self.sums[:, 0] / self.sums[:, 1].clamp(min=1)).tolist()
        now = time.time()
        left = (now - self.begun) / (step - self.first) * (steps - step)
        speed = self.tokens / (now - self.since)
        self.reset()
        return (f"step {step}/{steps}  book {book:.4f}  answers {answer:.4f} nats/token  "
                f"{speed:.0f} tokens/s  {left / 60:.1f} min left")


class Trainer:
    def __init__(self, model, corpus, args):
        self.args, self.device = args, torch.device(args.device)
        self.model = model.to(self.device)
        self.steps = int(args.tokens // args.batch)
        self.optimizers = optimizers(model, args.optimizer, args.lr)
        self.batches = Batches(corpus, SCHEDULES[args.schedule], self.steps, args.batch,
                               model.config.context, args.seed)
        self.losses = torch.compile(model.losses) if args.compile else model.losses
        self.step, self.stop = 0, False
        self.path = os.path.join(args.out, "checkpoint.pt")

    def save(self):
        state = {"config": self.model.config.to_dict(), "model": self.model.state_dict(),
                 "optimizers": [o.state_dict() for o in self.optimizers], "step": self.step,
                 "steps": self.steps, "random": torch.get_rng_state()}
        torch.save(state, self.path + ".tmp")
        os.replace(self.path + ".tmp", self.path)
        say(f"saved {self.path} at step {self.step}")

    def resume(self):
        state = torch.load(self.path, map_location=self.device)
        if state["steps"] != self.steps:
            raise SystemExit(f"{self.path} belongs to a run of {state['steps']} steps, this one "
                             f"has {self.steps}: give the same --tokens and --batch")
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        self.step = state["step"]
        torch.set_rng_state(state["random"].cpu())
        say(f"resumed {self.path} at step {self.step}")

    def backward(self, ids, weights, meter):
        """Adds the gradients of one batch, in pieces that fit memory (on a CPU, the cache)."""
        rows = max(1, self.args.micro // (ids.shape[1] - 1))
        scale = 1.0 / (ids.shape[0] * (ids.shape[1] - 1))
        for x, w in zip(ids.split(rows), weights[:, 1:].split(rows)):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.args.bf16):
                losses = self.losses(x[:, :-1], x[:, 1:])
            ((losses * w).sum() * scale).backward()
            meter.add(losses.detach(), w)

    def update(self):
        share = learning_rate(self.step, self.steps, self.args.warmup, self.args.flat)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.args.lr * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def run(self):
        """Trains until the budget is spent or Ctrl-C; saves in both cases."""
        old = signal.signal(signal.SIGINT, lambda *_: setattr(self, "stop", True))
        loader = torch.utils.data.DataLoader(
            self.batches, batch_size=None, sampler=range(self.step, self.steps),
            num_workers=self.args.workers, worker_init_fn=ignore_interrupt)
        meter, saved = Meter(self.step), time.time()
        for ids, weights in loader:
            self.backward(ids.to(self.device), weights.to(self.device), meter)
            self.update()
            if time.time() - meter.since > self.args.report:
                say(meter.line(self.step, self.steps))
            if time.time() - saved > self.args.save_every:
                self.save()
                saved = time.time()
            if self.stop:
                break
        self.save()
        signal.signal(signal.SIGINT, old)


def ignore_interrupt(_):
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def load_checkpoint(path):
    state = torch.load(path, map_location="cpu")
    model = Model(Config(**state["config"]))
    model.load_state_dict(state["model"])
    return model
