"""docs/selectors.md from a registry and results made by hand."""

import os
import tempfile
import unittest

import selectors_page as page
from quality_test import LINES, result, row

METHODS = """## Slot `scorer`

| method | what it does | observes | origin |
|---|---|---|---|
| `knorm` | small keys | keys | Devoto |

| method | parameter | default | allowed | meaning |
|---|---|---|---|---|
| `knorm` | `skip` | `2` | integer 0 to 512 | first layers |

## Slot `budget`

| method | what it does | observes | origin |
|---|---|---|---|
| `ada` | more for some | attention mass | Feng |

| method | parameter | default | allowed | meaning |
|---|---|---|---|---|
| `ada` | `keep` | `0.2` | number 0 to 1 | share |
| `ada` | `floor` | `0.2` | number 0 to 1 | least |
"""


class Selectors(unittest.TestCase):
    def setUp(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "methods.md")
            with open(path, "w", encoding="utf-8") as file:
                file.write(METHODS)
            self.found = page.registry(path)

    def test_methods_with_their_own_parameters(self):
        self.assertIn("| `knorm` | small keys | keys | `skip=2` | Devoto |",
                      page.describe(["knorm"], "scorer", *self.found))
        self.assertIn("| `ada` | more for some | attention mass | `floor=0.2` | Feng |",
                      page.describe(["ada"], "budget", *self.found))

    def test_a_measured_line_for_each_preset_in_order(self):
        measured = result(row("lines", "knorm", "", {"samples": 5}, LINES),
                          row("lines", "keydiff", "", {"samples": 5}, LINES))
        text = page.measured(measured["results"], ["keydiff", "knorm"])
        self.assertLess(text.index("`keydiff`"), text.index("`knorm`"))
        self.assertIn("| `knorm` | 3.46 | 4.63 | 205 | 0.88 [0.80, 0.95] | 25.0 % |", text)
        self.assertEqual(page.measured(measured["results"], ["h2o"]), "")

    def test_every_scorer_and_budget_of_the_registry_has_a_family(self):
        self.assertIn("`keydiff`", page.document("/nonexistent"))


if __name__ == "__main__":
    unittest.main()
