"""The documents are what the files in results/ say, and parts may be missing."""

import os
import types
import unittest

import build
import common


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


if __name__ == "__main__":
    unittest.main()
