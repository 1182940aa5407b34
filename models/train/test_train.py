"""Training takes hours, so a broken resume or an unreadable file must show within seconds here."""
import os
import random
import signal
import sys
import tempfile
import threading
import unittest
from types import SimpleNamespace

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
try:
    import numpy as np
    import torch

    import circuit
    import data
    import evaluate
    import gguf_file
    import loop
    from bpe import PIECES
    from loop import Trainer, learning_rate, load_checkpoint
    from model import Config, Model
    from tasks import Tasks
except ImportError as missing:
    raise unittest.SkipTest(f"needs torch and numpy: {missing}")

TINY = Config(vocab=300, dim=64, layers=2, heads=2, kv_heads=1, ffn=96, context=256, head_dim=32)
EVENT = "The {} {} went to the {} and found a {} there, but it was too late.\n"


def story(seed, sentences):
    tasks = Tasks(random.Random(seed), None, [])
    pick = [tasks.compound, lambda: str(tasks.rng.randrange(10**6))]
    return "".join(EVENT.format(*(tasks.rng.choice(pick)() for _ in range(4)))
                   for _ in range(sentences))


def flags(out, **changes):
    values = {"out": out, "device": "cpu", "tokens": 4096, "batch": 512, "micro": 512,
              "lr": 3e-3, "optimizer": "muon", "schedule": "scratch", "seed": 1,
              "compile": False, "bf16": False,
              "warmup": 2, "flat": 0.5, "report": 1e9, "save_every": 1e9, "workers": 0}
    return SimpleNamespace(**{**values, **changes})


class TrainTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(1)
        loop.say = lambda _: None
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = cls.temporary.name
        for name, sentences in (("books", 3000), ("valid", 60)):
            with open(cls.file(name), "w", encoding="utf-8") as f:
                f.write(story(1, sentences) + "\n\0\n" + story(2, sentences) + "\n\0")
        data.prepare(cls.file("books"), cls.file("valid"), cls.folder, TINY.vocab)
        cls.corpus = data.Corpus(cls.folder)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    @classmethod
    def file(cls, name):
        return os.path.join(cls.folder, name)

    def trainer(self, name, **changes):
        os.makedirs(self.file(name), exist_ok=True)
        torch.manual_seed(3)
        return Trainer(Model(TINY), self.corpus, flags(self.file(name), **changes))

    def test_tokenizer_round_trip(self):
        tokenizer = self.corpus.tokenizer
        for text in ("It's 1,234 miles\n\n  to the  sea.", "caf\u00e9 \u4e2d\u6587 \U0001f600 _x_"):
            self.assertEqual(text, tokenizer.decode(tokenizer.encode(text)))
            self.assertEqual(text, "".join(PIECES.findall(text)))
        self.assertEqual(5, len(tokenizer.encode("12345")))
        self.assertEqual(TINY.vocab, len(tokenizer.tokens))

    def test_batches_depend_on_seed_and_step_only(self):
        def make(seed):
            return data.Batches(self.corpus, data.SCRATCH, 50, 1024, 256, seed)
        for step in (0, 20, 49):
            ids, weights = make(1)[step]
            self.assertTrue(torch.equal(ids, make(1)[step][0]))
            self.assertFalse(torch.equal(ids, make(2)[step][0]))
            self.assertEqual(ids.shape, weights.shape)
            self.assertLess(int(ids.max()), TINY.vocab)

    def test_passkey_fits_and_shows_its_key(self):
        tasks = Tasks(random.Random(5), self.corpus.tokenizer, self.corpus.words)
        for depth in (0.0, 0.5, 1.0):
            prompt, answer = evaluate.passkey_sample(tasks, 900, depth)
            self.assertEqual(2, prompt.count(f"<{answer}>"))
            self.assertTrue(prompt.endswith("The pass key is <"))

    def test_loss_falls(self):
        for optimizer in ("muon", "adamw"):
            trainer = self.trainer(optimizer, tokens=16384, optimizer=optimizer)
            ids = torch.from_numpy(np.asarray(self.corpus.valid[:256], np.int64))[None]

            def loss():
                with torch.no_grad():
                    return trainer.model.losses(ids[:, :-1], ids[:, 1:]).mean().item()
            before = loss()
            trainer.run()
            self.assertLess(loss(), before - 1.0)

    def test_interrupted_run_ends_where_a_whole_one_does(self):
        whole, first = self.trainer("whole"), self.trainer("parts")
        whole.run()
        update = first.update

        def interrupt():
            update()
            if first.step == 3:
                signal.raise_signal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread():
            self.skipTest("signals need the main thread")
        first.update = interrupt
        first.run()
        self.assertEqual(3, first.step)
        second = self.trainer("parts")
        second.resume()
        second.run()
        for a, b in zip(whole.model.parameters(), second.model.parameters()):
            self.assertTrue(torch.equal(a, b))

    def test_resume_refuses_another_budget(self):
        self.trainer("budget").save()
        with self.assertRaises(SystemExit):
            self.trainer("budget", tokens=8192).resume()

    def test_exported_file_gives_the_same_logits(self):
        trainer = self.trainer("export")
        trainer.run()
        model = load_checkpoint(trainer.path)
        path = self.file("tiny.gguf")
        gguf_file.save_model(path, model, self.corpus.tokenizer, "tiny")
        config, weights = gguf_file.load_weights(path)
        self.assertEqual(TINY.heads, config.heads)
        copy = Model(config)
        copy.load_state_dict(weights)
        ids = torch.arange(200)[None]
        with torch.no_grad():
            a, b = (m.logits(m.hidden(ids)) for m in (model, copy))
        self.assertLess((a - b).abs().max().item(), 2e-3 * a.abs().max().item())
        self.assertEqual(self.corpus.tokenizer.merges, gguf_file.load_tokenizer(path).merges)

    def test_evaluation_runs(self):
        trainer = self.trainer("evaluation")
        results, names = {}, []
        for _ in range(2):
            evaluate.evaluate(trainer.model, self.corpus, 2, 1, ["bits"], results, names.append)
        self.assertEqual(["bits_per_byte"], names)
        self.assertGreater(results["bits_per_byte"]["bits_per_byte"], 1.0)
        tasks = Tasks(random.Random(5), self.corpus.tokenizer, self.corpus.words)
        score = evaluate.exact_match(trainer.model, tasks,
                                     lambda: evaluate.pairs_sample(tasks, 5, False), 3)
        self.assertEqual(0.0, score["exact_match"])

    def test_built_in_circuit_finds_what_followed_a_token(self):
        torch.manual_seed(2)
        model = Model(Config())
        once = torch.randint(0, Config.vocab, (1, 120))
        ids = torch.cat((once, once), 1)

        def gain():     # nats by which the second time is easier than the first
            with torch.no_grad():
                losses = model.losses(ids[:, :-1], ids[:, 1:])[0]
            return (losses[:119].mean() - losses[120:].mean()).item()
        self.assertLess(abs(gain()), 0.2)
        circuit.build_in(model)
        self.assertGreater(gain(), 0.8)

    def test_learning_rate(self):
        rates = [learning_rate(s, 100, 10, 0.5) for s in range(100)]
        self.assertEqual(0.1, rates[0])
        self.assertEqual([1.0] * 40, rates[10:50])
        self.assertEqual(sorted(rates[50:], reverse=True), rates[50:])
        self.assertEqual(0.01, rates[-1])


if __name__ == "__main__":
    unittest.main()
