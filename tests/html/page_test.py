"""The page of `kvkeep eval --html`, looked at in headless Chromium: nothing complains, nothing is
loaded, nothing sticks out, every chart and map is drawn. Skips where there is no Chromium
(Debian: apt-get install chromium).

The environment variable KVKEEP names the binary; with KVKEEP_SHOTS, a folder, pictures stay there.
"""
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import browser

BINARY = os.environ["KVKEEP"]
SHOTS = os.environ.get("KVKEEP_SHOTS")
PLANS = ["f16", "mikv", "mikv-int8", "rtn2", "h2o"]
# Without "/", so that it can be the name of a file.
HOSTILE = "<img src=x onerror=document.title=1><!--<script>&amp;\"'"
SIZES = {"phone": (390, 844), "desk": (1280, 900)}
DATA = re.compile(r'(<script type="application/json" id="data">)(.*?)(</script>)', re.S)

# Canvases that show one colour only; a map of one tier does, but for the gaps between layers.
BLANK = """[...document.querySelectorAll('canvas')].filter(canvas => {
  const image = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  return pixels.every(pixel => pixel === pixels[0]);
}).map(canvas => canvas.getAttribute('aria-label'))"""
# Elements that reach past the window, but for what scrolls by itself.
WIDE = """[...document.querySelectorAll('body *')].filter(node =>
  !node.closest('.scroll *, pre *') && node.getBoundingClientRect().right > innerWidth + 1
).map(node => node.outerHTML.slice(0, 80))"""
# A change of colours reaches the page with its next frame.
FRAME = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))"
# Tables with an empty body, canvases without a name, what must not be there at all.
BARE = "tbody:empty, canvas:not([aria-label]), section:not(:has(h2)), img, iframe, link"


def evaluate(*args):
    return subprocess.run([BINARY, "eval", *args], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=280, check=False, text=True)


def with_more(page):
    """The page with results that no short run has: a grid of depths and lengths, errors of 32
    layers of 8 heads, and a plan and a command that are markup."""
    data = json.loads(DATA.search(page).group(2))
    rows = data["eval"]["results"]
    grid = [{"length": n, "depth": d, "value": d, "n": 4} for n in (512, 1024, 2048)
            for d in (0, 0.5, 1)]
    errors = [{"layer": layer, "kv_head": head, "value": 0.01 * (layer + 1), "n": 9}
              for layer in range(32) for head in range(8)]
    more = [{**row, "task": "needle", "preset": "</script>" + HOSTILE, "cells": grid,
             "metrics": {"accuracy": 0.5, "low": 0.4, "high": 0.6}} for row in rows[:3]]
    more += [{**row, "task": "attention_error", "metrics": {"mean": 0.1}, "cells": errors}
             for row in rows[:3]]
    data["eval"]["results"] = rows + more
    data["eval"]["command"] += "</script>" + HOSTILE
    text = json.dumps(data).replace("<", "\\u003c")
    return DATA.sub(lambda match: match.group(1) + text + match.group(3), page)


@unittest.skipUnless(browser.find(), "needs chromium")
class PageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.page = pathlib.Path(folder.name, "page.html")
        cls.full = cls.page.with_name("full.html")
        text = pathlib.Path(folder.name, HOSTILE)
        text.write_text("The old fox sleeps beside the quiet river. " * 80)
        done = evaluate("--tasks", "passkey", "--plans", " ".join(PLANS), "-c", "256", "--limit",
                        "5", "--text", str(text), "--html", str(cls.page))
        if done.returncode:
            raise RuntimeError(done.stderr)
        cls.data = json.loads(DATA.search(cls.page.read_text()).group(2))
        cls.full.write_text(with_more(cls.page.read_text()))
        cls.browser = cls.enterClassContext(browser.Browser())

    def open(self, path, size, dark=False):
        page = self.browser.open(path, *SIZES[size], dark=dark)
        if SHOTS:
            scheme = "dark" if dark else "light"
            page.screenshot(f"{SHOTS}/{path.stem}-{size}-{scheme}.png", whole=True)
        return page

    def count(self, page, selector):
        return page.evaluate(f"document.querySelectorAll({json.dumps(selector)}).length")

    def check_drawn(self, page, canvases):
        self.assertEqual(page.evaluate("document.documentElement.dataset.state"), "done")
        self.assertIsNone(page.evaluate("document.documentElement.dataset.error"))
        self.assertEqual(page.messages, [])
        self.assertEqual(len(page.requests), 1, "the page itself and nothing else")
        self.assertEqual(self.count(page, "canvas"), canvases)
        self.assertEqual(page.evaluate(BLANK), [])
        self.assertEqual(self.count(page, BARE), 0)
        self.assertEqual(page.evaluate("document.documentElement.scrollWidth - innerWidth"), 0)
        self.assertEqual(page.evaluate(WIDE), [])

    def test_draws_on_phone_and_desk_in_light_and_dark(self):
        for size in SIZES:
            for dark in (False, True):
                with self.subTest(size=size, dark=dark):
                    self.check_drawn(self.open(self.page, size, dark), 1 + len(PLANS))

    def test_draws_grids_errors_by_head_and_names_that_are_markup(self):
        for size in SIZES:
            with self.subTest(size=size):
                page = self.open(self.full, size)
                self.check_drawn(page, 4 + len(PLANS))
                self.assertIn("kvkeep eval", page.evaluate("document.title"))
                command = page.evaluate("document.querySelector('#run pre').textContent")
                self.assertIn("</script>" + HOSTILE, command)
                for task, cells in (("attention_error", 3 * 32 * 8), ("needle", 3 * 3 * 3)):
                    self.assertEqual(self.count(page, f"#task-{task} .heat td"), cells)

    def test_tables_hold_the_figures_of_the_run(self):
        page = self.open(self.page, "desk")
        cells = page.evaluate("[...document.querySelectorAll('#task-passkey table')[0].rows]"
                              ".slice(1).map(row => [...row.cells].map(cell => cell.textContent))")
        for row, shown in zip(self.data["eval"]["results"], cells, strict=True):
            metrics = row["metrics"]
            self.assertEqual(shown[0], row["preset"])
            self.assertEqual(shown[2], "{accuracy:.3f} [{low:.3f}, {high:.3f}]".format(**metrics))
            self.assertEqual(shown[1], f"{row['cache']['bits_per_value']:.2f}")

    def test_a_tier_map_names_the_token_under_the_pointer(self):
        page = self.open(self.page, "phone")
        said = page.evaluate("""(() => {
          const canvas = document.querySelectorAll('#tiers canvas')[4];
          const box = canvas.getBoundingClientRect();
          canvas.dispatchEvent(new PointerEvent('pointermove',
            {clientX: box.right - 1, clientY: box.bottom - 1}));
          return canvas.parentNode.querySelector('output').textContent;
        })()""")
        self.assertRegex(said, r'^position \d+ ".*", layer 5, kv_head 1: f16$')

    def test_changed_colours_are_drawn_anew_and_paper_is_light(self):
        page = self.open(self.page, "desk", dark=True)
        pixel = ("document.querySelectorAll('#tiers canvas')[0].getContext('2d')"
                 ".getImageData(0, 0, 1, 1).data.join()")
        dark = page.evaluate(pixel)
        page.media(dark=False)
        page.evaluate(FRAME)
        light = page.evaluate(pixel)
        self.assertNotEqual(light, dark)
        page.media(dark=True)
        page.evaluate(FRAME)
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        self.assertEqual(page.evaluate(pixel), light)
        self.assertEqual(self.count(page, "main details:not([open])"), 0)
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        self.assertEqual(page.evaluate(pixel), dark)
        self.assertEqual(self.count(page, "main details[open]"), 0)

    def test_without_the_chart_library_the_tables_stand_and_the_page_says_so(self):
        text = self.page.read_text()
        start = text.index("Chart.js v")
        begin, end = text.rindex("<script>", 0, start) + 8, text.index("</script>", start)
        bare = self.page.with_name("bare.html")
        bare.write_text(text[:begin] + text[end:])
        page = self.open(bare, "phone")
        self.check_drawn(page, len(PLANS))
        notices = page.evaluate("document.getElementById('notices').textContent")
        self.assertIn("no chart library", notices)


if __name__ == "__main__":
    unittest.main()
