"""Each check must catch what it is for: one small bad example per rule."""

import unittest

import budgets
import docs


def function(lines, name="f"):
    return f"void {name}() {{\n" + "  g();\n" * (lines - 2) + "}\n"


class Budgets(unittest.TestCase):
    def found(self, **files):
        texts = {name.replace("__", "/").replace("_", "."): text for name, text in files.items()}
        return "\n".join(budgets.violations(texts))

    def test_clean_tree_is_silent(self):
        self.assertEqual(self.found(src__a__x_cc="#include <map>\n" + function(40)), "")

    def test_long_function(self):
        found = self.found(src__a__x_cc="\n\n" + function(101))
        self.assertIn("src/a/x.cc:3: f has 101 lines", found)

    def test_share_of_short_functions(self):
        self.assertIn("only 0.0%", self.found(src__a__x_cc=function(41)))

    def test_file_length(self):
        text = "int x;\n" * 501
        self.assertIn("501 lines, limit 500", self.found(src__a__x_cc=text))
        self.assertIn("the median file", self.found(src__a__x_cc=text))

    def test_columns(self):
        self.assertIn("x.cc:1: 101 columns", self.found(src__a__x_cc="// " + "x" * 98))

    def test_conditionals(self):
        text = "#ifdef __AVX2__\n#endif\n// #if in a comment\n"
        self.assertIn("src/eval/x.cc:1: #ifdef", self.found(src__eval__x_cc=text))
        self.assertEqual(self.found(src__kernels__x_cc=text), "")

    def test_include_cycle(self):
        found = self.found(src__a__x_h='#include "b/y.h"\n', src__b__y_h='#include "a/x.h"\n')
        self.assertEqual(found, "include cycle: src/a/x.h -> src/b/y.h -> src/a/x.h")

    def test_public_headers(self):
        files = {f"include__kvkeep__h{i}_h": "int x;\n" for i in range(9)}
        self.assertIn("9 headers, limit 8", self.found(**files))

    def test_functions_are_seen_through_syntax(self):
        text = """
namespace a {
struct S { int x = 1; int y() const { return x; } };
int table[] = {1, 2};
auto lambda = [](int z) { return z; };
S::S(int v) : x(use({v, "}"})) {
  run([&](int i) { if (i) { stop(); } });
}
}  // namespace a
"""
        names = [(name, lines) for name, _, lines in budgets.cpp_functions(text)]
        self.assertEqual(names, [("y", 1), ("S::S", 3)])

    def test_python_functions(self):
        text = "def f():\n" + "    pass\n" * 100
        self.assertIn("f has 101 lines", self.found(tools__x_py=text))


class Docs(unittest.TestCase):
    def test_marker_and_link_and_length(self):
        self.assertEqual(list(docs.violations("README.md", "[a](docs.py) [b](https://x)")), [])
        self.assertTrue(list(docs.violations("README.md", "@" + "@RESULTS@" + "@")))
        self.assertTrue(list(docs.violations("docs/x.md", "[a](nowhere.md)")))
        self.assertTrue(list(docs.violations("README.md", "x\n" * 151)))


if __name__ == "__main__":
    unittest.main()
