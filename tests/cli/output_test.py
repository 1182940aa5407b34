"""What scripts rely on: JSON objects, their fields, exit codes, repeatable runs."""
import json
import os
import signal
import subprocess
import tempfile
import time
import unittest

from cli import BINARY, SOURCE, CliTest, run

PLANS = "f16 mikv mikv-4 rtn2 h2o streaming"
CACHE = {"tokens", "readable_tokens", "bytes", "bits_per_value", "bits_per_value_marginal",
         "paper_bits_per_value", "compression_factor", "breakdown"}


class Output(CliTest):
    def check_cache(self, cache):
        self.assertLessEqual(CACHE, cache.keys())
        self.assertEqual(sum(cache["breakdown"].values()), cache["bytes"])
        self.assertLessEqual(cache["readable_tokens"], cache["tokens"])

    def test_eval(self):
        report = self.json_of("eval", "--tasks", "ppl", "--plans", PLANS, "-c", "256", "--limit",
                              "512", "--json")
        self.assertEqual(report["schema"], "kvkeep.eval/1")
        self.assertLessEqual({"name", "architecture", "path", "fingerprint"},
                             report["model"].keys())
        self.assertLessEqual({"cpu", "isa", "threads", "compiler"}, report["machine"].keys())
        self.assertNotIn("/", report["model"]["path"])
        self.assertEqual([row["preset"] for row in report["results"]], PLANS.split())
        for row in report["results"]:
            self.assertEqual(row["task"], "ppl")
            metrics = row["metrics"]
            self.assertEqual(metrics.keys(), {"ppl", "low", "high", "nll", "nll_low", "nll_high",
                                              "nll_vs_f16_low", "nll_vs_f16_high", "tokens"})
            self.assertLessEqual(metrics["low"], metrics["ppl"])
            self.assertLessEqual(metrics["ppl"], metrics["high"])
            self.assertEqual(row["metrics"]["tokens"], 2 * 192)
            self.assertGreater(row["metrics"]["ppl"], 1)
            self.assertLessEqual({"ctx", "step", "exact_window", "sinks", "windows", "seed"},
                                 row["protocol"].keys())
            self.assertEqual(row["cache"]["tokens"], 256)
            self.check_cache(row["cache"])
        self.assertEqual(report["results"][0]["cache"]["readable_tokens"], 256)

    def test_hints_where_representatives_do_not_pay(self):
        small = ["-c", "256", "--limit", "256", "--plans", "kvcrush"]
        code, _, quiet = run("eval", "--tasks", "ppl", *small)
        self.assertNotIn("hint:", quiet)
        self.assertEqual(code, 0, quiet)
        _, _, found = run("eval", "--tasks", "lines", "-c", "330", "--limit", "1", "--plans",
                          "h2o kvcrush")
        self.assertEqual(found.count("hint:"), 1)
        self.assertIn("hint: representatives=kvcrush of 'kvcrush' pays where", found)
        code, _, found = run("run", "-p", "Once", "-n", "2", "--plan",
                             "mikv-h2o:representatives=kvcrush")
        self.assertIn("hint:", found)
        self.assertEqual(code, 0)

    def test_eval_of_recall(self):
        report = self.json_of("eval", "--tasks", "lines,passkey,kv_recall", "--plans", "f16 h2o",
                              "-c", "330", "--limit", "2", "--json")
        self.assertEqual([row["task"] for row in report["results"]],
                         ["lines", "lines", "passkey", "passkey", "kv_recall", "kv_recall"])
        for row in report["results"]:
            metrics = row["metrics"]
            self.assertLessEqual({"accuracy", "n", "low", "high"}, metrics.keys())
            self.assertLessEqual(metrics["low"], metrics["accuracy"])
            self.assertLessEqual(metrics["accuracy"], metrics["high"])
            self.assertEqual(metrics["n"], 2 if row["task"] == "passkey" else 10)
            self.assertLessEqual(metrics["vs_f16_low"], metrics["vs_f16_high"])
            self.assertLessEqual(metrics["answer_in_high"], 1)
            self.assertGreater(metrics["answer_nll"], 0)
            self.assertEqual(len(row["nll_units"]), row["protocol"]["samples"])
            self.assertEqual(len(row["cells"]), 2 if row["task"] == "passkey" else 5)
            self.assertEqual(row["protocol"]["question"], "after compression")
            self.assertEqual("depth_0.25" in metrics, row["task"] == "passkey")
            self.assertEqual(row["protocol"]["samples"], 2)
            self.check_cache(row["cache"])

    def test_eval_of_divergence(self):
        report = self.json_of("eval", "--tasks", "kld", "--plans", "f16 rtn2", "-c", "128",
                              "--limit", "256", "--json")
        exact, coarse = (row["metrics"] for row in report["results"])
        self.assertEqual(exact, {"mean": 0, "low": 0, "high": 0, "p99": 0, "top1_agreement": 1,
                                 "top1_changed": 0, "tokens": 192})
        self.assertEqual(coarse.keys(), exact.keys())
        self.assertGreater(coarse["low"], 0)
        self.assertLessEqual(coarse["low"], coarse["mean"])
        self.assertLessEqual(coarse["mean"], coarse["high"])

    def test_eval_in_two_steps(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "f16.kld")
            call = ["eval", "--tasks", "kld", "-c", "128", "--limit", "128", "--json", "--plans"]
            first = self.json_of(*call, "rtn2", "--kld-save", path)
            again = self.json_of(*call, "rtn2", "--kld-ref", path)
            self.assertEqual(os.listdir(folder), ["f16.kld"])
            self.assertEqual(again["results"][0]["metrics"], first["results"][0]["metrics"])
            self.assert_refused(*call, "rtn2", "--kld-ref", path, "--step", "16", says="--step 32")
            self.assert_refused(*call, "rtn2", "--kld-ref", SOURCE + "/README.md", says="README.md")
        self.assert_refused(*call, "rtn2", "--kld-save", "/nonexistent/x", says="/nonexistent/x")

    def test_eval_of_the_users_samples(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "qa.jsonl")
            with open(path, "w", encoding="utf-8") as file:
                file.write('{"context": "Dictionary:\\ndog: 1234", "input": "Question: dog", '
                           '"answers": ["1234"], "dataset": "pairs"}\n')
            report = self.json_of("eval", "--data", path, "--plans", "f16", "-c", "128", "--json")
            metrics = report["results"][0]["metrics"]
            for name in ("f1", "rouge_l", "exact_match", "contains", "dataset_pairs"):
                self.assertEqual(metrics[name], 1, name)
            with open(path, "a", encoding="utf-8") as file:
                file.write('{"context": "no answers"}\n')
            self.assert_refused("eval", "--data", path, says="qa.jsonl:2: ")

    def test_eval_at_equal_bytes(self):
        report = self.json_of("eval", "--tasks", "ppl", "--plans", "f16 mikv h2o", "--at-bytes",
                              "35%", "-c", "1024", "--limit", "1024", "--json")
        fitted = report["at_bytes"]
        self.assertEqual([row["asked"] for row in fitted["plans"]], ["mikv", "h2o"])
        for row, found in zip(report["results"][1:], fitted["plans"]):
            self.assertEqual(row["preset"], found["preset"])
            self.assertAlmostEqual(found["deviation"], found["bytes"] / fitted["bytes"] - 1)
            self.assertLess(abs(found["deviation"]), 0.15)

    def test_eval_table(self):
        code, out, _ = run("eval", "--plans", "f16 rtn4", "-c", "128", "--limit", "128")
        self.assertEqual(code, 0)
        for title in ("plan", "ppl", "vs f16", "step", "window", "sinks", "readable"):
            self.assertIn(title, out.splitlines()[1])
        self.assertEqual(len(out.splitlines()), 4)
        code, out, _ = run("eval", "--tasks", "passkey", "--plans", "f16", "-c", "200", "--limit",
                           "1")
        self.assertEqual(code, 0)
        self.assertIn("1 sample of up to 200 tokens", out.splitlines()[0])
        self.assertRegex(out.splitlines()[2], r"^f16 .*\[[01]\.000, [01]\.000\]")

    def test_run_repeats_itself(self):
        call = ["run", "-p", "The ship was", "-n", "8", "--temp", "1", "--top-p", "0.9", "--json",
                "--ignore-eos"]
        first = self.json_of(*call, "--seed", "3")
        self.assertEqual(first["schema"], "kvkeep.run/1")
        self.assertEqual(first["generated_tokens"], 8)
        self.check_cache(first["cache"])
        self.assertGreater(first["timings"]["decode_tokens_per_second"], 0)
        self.assertEqual(self.json_of(*call, "--seed", "3")["text"], first["text"])
        self.assertEqual(self.json_of(*call, "--seed", "3", "-t", "1")["text"], first["text"])
        texts = {self.json_of(*call, "--seed", str(seed))["text"] for seed in range(4)}
        self.assertGreater(len(texts), 1)

    def test_run_prints_the_text_then_the_report(self):
        greedy = self.json_of("run", "-p", "The ship was", "-n", "8", "--json")
        code, out, err = run("run", "-p", "The ship was", "-n", "8", "--layers")
        self.assertEqual(code, 0)
        self.assertTrue(out.startswith(greedy["text"]), out)
        for word in ("bytes", "bits", "layer"):
            self.assertIn(word, out)
        self.assertIn("kernels", err)

    def test_run_stops_at_the_context(self):
        report = self.json_of("run", "-p", "a", "-n", "100", "-c", "20", "--ignore-eos", "--json")
        self.assertEqual(report["end"], "context")
        self.assertEqual(report["cache"]["tokens"], 20)

    def test_prompt_from_file_and_standard_input(self):
        code, out, _ = run("run", "-f", "-", "-n", "4", "--json", stdin=b"The ship was")
        self.assertEqual(code, 0)
        self.assertIn('"generated_tokens": 4', out)

    def test_other_reports(self):
        self.assertEqual(self.json_of("methods", "--json")["schema"], "kvkeep.methods/1")
        model = os.path.join(SOURCE, "models", "kvkeep-5m-f16.gguf")
        self.assertEqual(self.json_of("inspect", model, "--json")["config"]["layers"], 6)
        doctor = self.json_of("doctor", "--json", "--measure", "64")
        self.assertEqual(doctor["f16_bytes_per_token"], 3072)
        presets = {row["name"]: row for row in doctor["presets"]}
        self.assertIn("mikv", presets)
        # Predictors are held once, however long the context is.
        keep1 = presets["keep1"]
        self.assertLess(keep1["estimated_bytes_at_context"],
                        0.5 * keep1["bytes_per_token"] * doctor["context"])
        demo = self.json_of("demo", "--json", "--facts", "1", "-c", "400")
        self.assertEqual(len(demo["results"]), 6)
        self.assertEqual(run("--help")[0], 0)
        self.assertEqual(run("--version")[0], 0)

    def test_methods_document_is_current(self):
        with open(os.path.join(SOURCE, "docs", "methods.md"), encoding="utf-8") as file:
            self.assertEqual(run("methods", "--markdown")[1], file.read(),
                             "run: kvkeep methods --markdown > docs/methods.md")

    def interrupted(self, *args, wait):
        """What a long call prints in all when Ctrl-C comes after `wait` has seen it start."""
        with subprocess.Popen([BINARY, *args], bufsize=0, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            begin = wait(process.stdout)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1, err)
        self.assertIn("kvkeep: stopped", err.decode().splitlines()[-1])
        return (begin + out).decode()

    def test_interrupted_eval_holds_whole_windows(self):
        def wait(_):
            time.sleep(1.5)
            return b""
        report = json.loads(self.interrupted("eval", "--plans", PLANS, "-c", "64", "--limit",
                                             "40000", "--json", wait=wait))
        self.assertTrue(report["interrupted"])
        self.assertLessEqual(len({row["metrics"]["tokens"] for row in report["results"]}), 1)

    def test_interrupted_run_still_reports(self):
        out = self.interrupted("run", "-p", "a", "-n", "2000", "--ignore-eos",
                               wait=lambda stdout: stdout.read(1))
        self.assertIn("bits", out)


if __name__ == "__main__":
    unittest.main()
