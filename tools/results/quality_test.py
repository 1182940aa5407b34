"""Tables of quality from small results made by hand."""

import unittest

import quality
import readme


def row(task, preset, plan, protocol, metrics):
    cache = {"bits_per_value": 3.456, "compression_factor": 4.63}
    return {"task": task, "preset": preset, "plan": plan, "metrics": metrics, "cache": cache,
            "protocol": {"ctx": 2048, "exact_window": 205, **protocol}}


def result(*rows):
    machine = {"cpu": "a cpu", "isa": "avx2", "threads": 2, "compiler": "gcc 12"}
    return {"command": "kvkeep eval", "machine": machine, "results": list(rows)}


LINES = {"accuracy": 0.875, "low": 0.8, "high": 0.95, "answer_in_high": 0.25}


class Quality(unittest.TestCase):
    def test_one_row_a_plan(self):
        text = quality.suite(result(
            row("ppl", "mikv", "", {"windows": 4}, {"ppl": 28.456, "tokens": 6144}),
            row("lines", "mikv", "", {"samples": 20}, LINES)))
        self.assertIn(
            "| plan | bits | factor | window | ppl | lines | answers in high tier |", text)
        self.assertIn("| `mikv` | 3.46 | 4.63 | 205 | 28.46 | 0.88 [0.80, 0.95] | 25.0 % |", text)
        self.assertIn("`ppl` 6,144 scored tokens of up to 2048 tokens; `lines` 20 samples", text)
        self.assertIn("By `kvkeep eval` on a cpu", text)

    def test_perplexity_has_its_interval_above_f16(self):
        metrics = {"ppl": 22.68, "nll_vs_f16_low": 0.001, "nll_vs_f16_high": -0.0002}
        self.assertEqual(quality.perplexity(metrics), "22.68 [+0.10, -0.02] %")

    def test_differences_stand_beside_what_they_are_of(self):
        versus = {"plan": "rtn4", "low": -0.02, "high": 0.01, "nll_low": -0.125, "nll_high": 0.25}
        lines = {**row("lines", "mikv", "", {"samples": 20}, {**LINES, "answer_nll": 0.5}),
                 "versus": versus}
        text = quality.pivot(result(lines))
        self.assertIn("| lines | answers in high tier | above `rtn4` | nats an answer | "
                      "above `rtn4` |", text)
        self.assertIn("| 25.0 % | [-0.020, +0.010] | 0.500 | [-0.125, +0.250] |", text)

    def test_depths(self):
        cells = [{"length": 2048, "depth": 0.1, "value": 1, "n": 1},
                 {"length": 1024, "depth": 0.1, "value": 0.5, "n": 3},
                 {"length": 2048, "depth": 0.3, "value": 0, "n": 4}]
        lines = {**row("lines", "mikv", "", {"samples": 20}, LINES), "cells": cells}
        self.assertEqual(quality.by_depth(result(lines), "lines").split("\n")[2:],
                         ["| `lines` by depth | 10 % | 30 % |", "|---|---:|---:|",
                          "| `mikv` | 0.62 | 0.00 |"])
        self.assertEqual(quality.by_depth(result(lines), "passkey"), "")

    def test_readme(self):
        def plan(preset, marginal, mean):
            rows = [row("ppl", preset, "", {}, {"ppl": 22.684}),
                    row("kld", preset, "", {}, {"mean": mean}),
                    row("lines", preset, "", {}, LINES)]
            for each in rows:
                each["cache"]["bits_per_value_marginal"] = marginal
            return rows
        text = readme.table([result(*plan("mikv", 3.456, 0.1234)),
                             result(*plan("mikv", 1.0, 9.0), *plan("keep1", 1.54, 0.05))])
        self.assertIn("| 3.5 | 22.68 | 0.1234 | 88 % |", text)
        self.assertIn("| 1.5 (3.5) | 22.68 | 0.0500 | 88 % |", text)
        self.assertEqual(text.count("`mikv`"), 1)

    def test_intervals_of_other_metrics(self):
        metrics = {"f1": 0.5, "low": 0.4, "high": 0.6, "rouge": 0.3, "rouge_low": 0.2,
                   "rouge_high": 0.35}
        self.assertEqual(quality.share(metrics, "f1"), "0.50 [0.40, 0.60]")
        self.assertEqual(quality.share(metrics, "rouge"), "0.30 [0.20, 0.35]")

    def test_grid(self):
        plan = ("scorer=h2o;budget=uniform:keep=0.1,mid_keep=0,recent=0.5;high=f16;"
                "low=rtn:k=u2g32,v=u2g32")
        worse = plan.replace("keep=0.1", "keep=0.05")
        text = quality.sensitivity(result(
            row("lines", "mikv", plan, {"samples": 5}, LINES),
            row("lines", "mikv", worse, {"samples": 5}, {**LINES, "accuracy": 0.5})))
        self.assertIn("| scorer | keep | int2, group 32 |", text)
        self.assertIn("| h2o | 0.1 | \U0001f7e9 0.88 [0.80, 0.95] (3.46) |", text)
        self.assertIn("| h2o | 0.05 | \U0001f7e7 0.50 [0.80, 0.95] (3.46) |", text)

    def test_less_perplexity_is_better(self):
        self.assertLess(quality.goodness(row("ppl", "mikv", "", {}, {"ppl": 23.5})),
                        quality.goodness(row("ppl", "f16", "", {}, {"ppl": 22.7})))

    def test_heat_is_fifths(self):
        self.assertEqual(list(quality.ranks(dict(enumerate([9, 7, 5, 3, 1, 9]))).values()),
                         [0, 1, 2, 3, 4, 0])

    def test_equal_bytes(self):
        found = result(row("lines", "h2o:keep=0.2", "", {"samples": 5}, LINES))
        found["at_bytes"] = {"asked": "20%", "tokens": 2048, "bytes": 1258291,
                             "plans": [{"deviation": -0.031}, {"deviation": 0.004}]}
        text = quality.at_bytes(found)
        self.assertIn("1,258,291 bytes at 2,048 tokens", text)
        self.assertIn("deviations of up to 3.1 %", text)


if __name__ == "__main__":
    unittest.main()
