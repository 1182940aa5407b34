"""The documents are what the files in results/ say, and parts may be missing."""

import os
import types
import unittest

import build
import common
import performance


class Document(unittest.TestCase):
    def test_is_current(self):
        for name, text in build.documents().items():
            with open(os.path.join(build.DOCS, name), encoding="utf-8") as file:
                self.assertEqual(file.read(), text, "run ./dev results")

    def test_parts_follow_each_other(self):
        parts = [types.SimpleNamespace(tables=lambda folder: f"of {os.path.basename(folder)}\n\n"),
                 types.SimpleNamespace(tables=lambda folder: ""),
                 types.SimpleNamespace()]  # a module that contributes nothing
        self.assertEqual(build.document("/a/results", parts), build.HEAD + "\nof results\n")

    def test_no_results_no_tables(self):
        text = build.document("/nonexistent", build.modules())
        self.assertEqual(text, build.HEAD)

    def test_table(self):
        self.assertEqual(common.table(["plan", "ppl:"], [["f16", 1.5]]),
                         "| plan | ppl |\n|---|---:|\n| f16 | 1.5 |")

    def test_a_bar_just_missed_does_not_look_met(self):
        self.assertEqual(performance.figure(0.7487, 0.75), "0.749")
        self.assertEqual(performance.figure(0.74996, 0.75), "0.7500")
        self.assertEqual(performance.figure(0.81, 0.75), "0.81")

    def test_parts_without_marks_are_refused(self):
        with self.assertRaises(ValueError):
            common.written("prose", "name", "body")

    def test_decode_beside_rivals(self):
        def row(engine, depth, **more):
            spreads = {key + end: 2.0 for key in ("tokens_per_s", "ns_per_kv_token")
                       for end in ("", "_min", "_max")}
            return {"engine": engine, "mode": "m", "depth": depth, "cache_bytes": 2**20, **spreads,
                    **more}

        times = {"engine": "other", "mode": "a", "times": 12.5, "times_min": 12, "times_max": 13}
        result = {"machine": {"cpu": "c", "isa": "i", "threads": 1, "compiler": "g"},
                  "command": "kvkeep", "made_up_rows": False,
                  "rivals": [{"engine": "other", "version": "1", "best_mode": "a"}],
                  "results": [row("kvkeep", 0), row("kvkeep", 4096, rivals=[times]),
                              row("other", 4096)],
                  "bars": [{"what": "b", "threads": 1, "at_least": 10, "measured": 12.5,
                            "met": True}]}
        text = performance.decode(result, "title")
        two = "2.0 (2.0-2.0)"
        self.assertIn(f"| kvkeep | `m` | 4K | 1.0 | {two} | {two} | 12.5 (12.0-13.0) |", text)
        self.assertIn("its best mode at the greatest depth is `a`", text)
        self.assertIn("| b | 1 | >= 10.00 | 12.50 | met |", performance.bars(result))


if __name__ == "__main__":
    unittest.main()
