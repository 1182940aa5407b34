"""One command trains, measures and exports the embedded model: anyone can repeat or improve it.

  python train.py prep   --books TEXT.xz --valid TEXT.xz --data DIR   tokenizer, token files
  python train.py train  --data DIR --out DIR --tokens 27e6     from scratch; again: resumes
  python train.py train  --data DIR --out DIR --init FILE.gguf ...       continues from a model
  python train.py export --data DIR --checkpoint FILE --out FILE.gguf [--blend FILE.gguf --share S]
  python train.py eval   --data DIR --model FILE.gguf --out FILE.json

Needs torch and numpy only. Runs in bf16 on CUDA and on CPUs that multiply it, else in float32.
"""
import argparse
import json
import os
from dataclasses import replace

import torch

import circuit
import evaluate
import gguf_file
from data import SCHEDULES, Corpus, prepare
from loop import Trainer, load_checkpoint, say
from model import Config, Model
from optim import BFLOAT16_UNITS


def run_prep(a):
    tokenizer = gguf_file.load_tokenizer(a.tokenizer_of) if a.tokenizer_of else None
    prepare(a.books, a.valid, a.data, a.vocab, tokenizer)


def start_model(a, corpus):
    """Weights and shape of --init, or the shape of the flags and random weights."""
    if not a.init:
        model = Model(Config(len(corpus.tokenizer.tokens), a.dim, a.layers, a.heads, a.kv_heads,
                             a.ffn, a.context))
        if a.circuit:
            circuit.build_in(model)
        return model
    if gguf_file.load_tokenizer(a.init).merges != corpus.tokenizer.merges:
        raise SystemExit(f"{a.init} has another tokenizer: run prep with --tokenizer-of {a.init}")
    config, weights = gguf_file.load_weights(a.init)
    model = Model(replace(config, context=a.context))
    model.load_state_dict(weights)
    return model


def run_train(a):
    torch.manual_seed(a.seed)
    os.makedirs(a.out, exist_ok=True)
    corpus = Corpus(a.data)
    trainer = Trainer(start_model(a, corpus), corpus, a)
    if os.path.exists(trainer.path):
        trainer.resume()
    trainer.run()


def run_export(a):
    """Averaging with the model a run began from gives up little of either's skills."""
    model = load_checkpoint(a.checkpoint)
    if a.blend:
        _, other = gguf_file.load_weights(a.blend)
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.lerp_(other[name], 1 - a.share)
    gguf_file.save_model(a.out, model, Corpus(a.data).tokenizer, a.name)
    say(f"wrote {a.out}: {os.path.getsize(a.out) / 1e6:.2f} MB")


def run_eval(a):
    """Writes --out after each task, so an interrupted evaluation goes on where it stopped."""
    config, weights = gguf_file.load_weights(a.model)
    model = Model(config)
    model.load_state_dict(weights)
    report = {"model": os.path.basename(a.model), "samples": a.samples, "seed": a.seed}
    old = {}
    if a.out and os.path.exists(a.out):
        with open(a.out, encoding="utf-8") as f:
            old = json.load(f)
    same = {k: v for k, v in old.items() if k != "results"} == report
    report["results"] = old["results"] if same else {}

    def done(name):
        say(f"{name} {next(iter(report['results'][name].values())):.4f}")
        if a.out:
            with open(a.out, "w", encoding="utf-8") as f:
                f.write(json.dumps(report, indent=1) + "\n")
    evaluate.evaluate(model.to(a.device).eval(), Corpus(a.data), a.samples, a.seed,
                      a.only.split(","), report["results"], done)
    print(json.dumps(report, indent=1))


def training_flags(p):
    p.add_argument("--out", required=True, help="folder of checkpoint.pt")
    p.add_argument("--init", help="GGUF file to continue from")
    p.add_argument("--circuit", action="store_true",
                   help="start with an induction head built in (circuit.py)")
    p.add_argument("--schedule", choices=SCHEDULES, default="scratch")
    p.add_argument("--optimizer", choices=("muon", "adamw"), default="muon")
    p.add_argument("--compile", action="store_true", help="torch.compile the model")
    p.add_argument("--bf16", action=argparse.BooleanOptionalAction,
                   default=torch.cuda.is_available() or BFLOAT16_UNITS,
                   help="multiply in bf16 (default: where the processor does it natively)")
    shape = {"dim": 256, "layers": 6, "heads": 4, "kv_heads": 2, "ffn": 704, "context": 2048}
    run = {"batch": (8192, "tokens per step"), "micro": (2048, "tokens per forward pass"),
           "warmup": (50, "steps"), "workers": (0, "processes that make batches")}
    for name, value in shape.items():
        p.add_argument("--" + name.replace("_", "-"), type=int, default=value)
    for name, (value, text) in run.items():
        p.add_argument("--" + name, type=int, default=value, help=f"{text} ({value})")
    p.add_argument("--tokens", type=float, default=27e6, help="budget of the whole run")
    p.add_argument("--lr", type=float, default=3e-3)
    p.add_argument("--flat", type=float, default=0.35, help="share of the run before the decay")
    p.add_argument("--report", type=float, default=15, help="seconds between progress lines")
    p.add_argument("--save-every", type=float, default=300, help="seconds between checkpoints")


def parse():
    top = argparse.ArgumentParser(description=__doc__,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="command", required=True)
    p = {name: commands.add_parser(name) for name in ("prep", "train", "export", "eval")}
    for command in p.values():
        command.add_argument("--data", required=True, help="folder made by prep")
        command.add_argument("--threads", type=int, default=0, help="CPU threads (all)")
        command.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
        command.add_argument("--seed", type=int, default=1)
    p["prep"].add_argument("--books", required=True)
    p["prep"].add_argument("--valid", required=True)
    p["prep"].add_argument("--vocab", type=int, default=2048)
    p["prep"].add_argument("--tokenizer-of", help="GGUF file whose tokenizer is kept")
    training_flags(p["train"])
    p["export"].add_argument("--checkpoint", required=True)
    p["export"].add_argument("--out", required=True)
    p["export"].add_argument("--name", default="kvkeep-5m")
    p["export"].add_argument("--blend", help="GGUF file to average the weights with")
    p["export"].add_argument("--share", type=float, default=0.65, help="of the checkpoint")
    p["eval"].add_argument("--model", required=True)
    p["eval"].add_argument("--out", help="JSON file; what it holds is not repeated")
    p["eval"].add_argument("--samples", type=int, default=200)
    p["eval"].add_argument("--only", default="", help="comma-separated beginnings of task names")
    return top.parse_args()


def main():
    a = parse()
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.set_flush_denormal(True)
    {"prep": run_prep, "train": run_train, "export": run_export, "eval": run_eval}[a.command](a)


if __name__ == "__main__":
    main()
