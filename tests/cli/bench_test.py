"""kvkeep bench on sizes that take no time: what it prints, what it refuses. Speed is not tested."""
import os
import sys
import tempfile
import unittest

from cli import SOURCE, CliTest, run

TINY = {
    "attention": ["--mb", "0.1", "--rounds", "1", "--context", "64,130", "--gqa", "1,3", "-t",
                  "1,2", "--kv-heads", "2", "--layouts", "u4,u4/u2"],
    "memory": ["--mb", "1", "--rounds", "1", "-t", "1,2"],
    "compress": ["--slices", "3", "--past", "70", "--context", "80", "--prompt", "48", "--plans",
                 "q4_0 mikv", "--rounds", "1"],
    "decode": ["--depths", "0,40", "--steps", "1", "--rounds", "2", "--plans", "f16 q4_0", "-t",
               "1"],
}
RIVAL = """
import json, sys
for line in sys.stdin:
    question = json.loads(line)
    print(json.dumps({"hello": {"engine": "other", "version": "1", "modes": ["a", "b"]},
                      "open": {"id": 7, "cache_bytes": 5},
                      "decode": {"seconds": 2.0}, "close": {}}[question["do"]]), flush=True)
"""


class Bench(CliTest):
    def bench(self, name, *more):
        report = self.json_of("bench", name, *TINY[name], *more, "--json")
        self.assertEqual((report["schema"], report["bench"]), ("kvkeep.bench/1", name))
        self.assertIn("bench " + name, report["command"])
        self.assertIn(report["machine"]["isa"], ("scalar", "avx2", "avx512", "avx512vnni"))
        self.assertGreater(report["machine"]["last_level_cache_bytes"], 0)
        self.assertFalse(report["interrupted"])
        return report["results"]

    def test_attention(self):
        rows = self.bench("attention")
        self.assertEqual(len(rows), 3 * 2 * 2 * 2)  # f16 is always there
        for row in rows:
            for key in ("layout_k", "layout_v", "isa"):
                self.assertTrue(row[key])
            for key in ("ns_per_kv_token", "gb_per_s", "read_gb_per_s", "fraction_of_read",
                        "speed_up_over_f16"):
                self.assertGreater(row[key], 0)
                self.assertLessEqual(row[key + "_min"], row[key])
                self.assertGreaterEqual(row[key + "_max"], row[key])
            self.assertEqual((row["head_dim"], row["kv_heads"]), (128, 2))
            if row["layout_k"] == "f16":
                self.assertEqual(row["speed_up_over_f16"], 1)
        self.assertEqual({row["context"] for row in rows}, {64, 130})
        self.assertEqual({row["threads"] for row in rows}, {1, 2})
        self.assertEqual({row["gqa_ratio"] for row in rows}, {1, 3})
        self.assertIn(("u4", "u2"), {(row["layout_k"], row["layout_v"]) for row in rows})
        f16 = next(row for row in rows if row["layout_k"] == "f16" and row["context"] == 64)
        self.assertEqual(f16["kv_bytes"], f16["layers"] * 2 * 64 * 2 * 128 * 2)

    def test_attention_under_several_instruction_sets(self):
        isas = self.json_of("doctor", "--json", "--measure", "0")["machine"]["isas"]
        rows = self.bench("attention", "--isas", ",".join(isas))
        self.assertEqual({row["isa"] for row in rows}, set(isas))
        self.assertEqual(len(rows), len(isas) * 3 * 2 * 2 * 2)

    def test_memory(self):
        results = self.bench("memory")
        self.assertEqual({row["threads"] for row in results["reads"]}, {1, 2})
        self.assertEqual(min(row["bytes"] for row in results["reads"]), 16384)
        for row in results["blocks"]:
            self.assertGreater(row["extents_of_sequential"], 0)
            self.assertGreater(row["random_of_sequential"], 0)
            self.assertLessEqual(row["huge_page_share"], 1)

    def test_compress(self):
        results = self.bench("compress")
        for row in results["encode"]:
            self.assertGreater(row["g_values_per_s"], 0)
            self.assertNotEqual(row["layout_k"], "f16")
        self.assertEqual([row["plan"] for row in results["prompt"]], ["q4_0", "mikv"])
        for row in results["prompt"]:
            self.assertEqual(row["tokens"], 48)
            self.assertTrue(0 < row["share"] < 1)
        self.assertEqual(results["slices"][0]["of_f16"], 1)
        self.assertEqual({row["phase"] for row in results["scores"]}, {"decode", "prefill"})
        for row in results["reads"]:
            self.assertEqual(row["context"], 80)
            self.assertEqual(row["unpack_seconds"] > 0, "hot" not in row["plan"])
            self.assertGreater(row["of_u4"], 0)

    def test_decode(self):
        for more in ([], ["--random"], ["--steal"]):
            rows = self.bench("decode", *more)
            self.assertEqual([(row["mode"], row["depth"]) for row in rows],
                             [("f16", 0), ("f16", 40), ("q4_0", 0), ("q4_0", 40)])
            for row in rows:
                steps = 6 if "--steal" in more else 3
                self.assertEqual(row["last_depth"], row["depth"] + steps)
                self.assertGreater(row["tokens_per_s"], 0)
                self.assertEqual("ns_per_kv_token" in row, row["depth"] > 0)
                self.assertEqual("slow_down" in row, "--steal" in more)

    def test_rival(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "rival.py")
            with open(path, "w", encoding="utf-8") as file:
                file.write(RIVAL)
            rows = self.bench("decode", "--rival", f"{sys.executable} {path}")
        others = [row for row in rows if row["engine"] == "other"]
        for row in rows:
            beside = row["engine"] == "kvkeep" and row["depth"] > 0
            self.assertEqual([rival["engine"] for rival in row.get("rivals", [])],
                             ["other"] if beside else [])
        self.assertEqual([row["mode"] for row in others], ["a", "a", "b", "b"])
        self.assertEqual({row["ms_per_token"] for row in others}, {1000.0})  # 2 tokens a turn
        self.assertEqual({row["cache_bytes"] for row in others}, {5})

    def test_rival_that_fails(self):
        for command in ("exit 0", "cat /dev/null", "read line; echo no JSON",
                        "read line; echo '{\"error\": \"it is ill\"}'"):
            code, out, err = run("bench", "decode", *TINY["decode"], "--rival", command)
            self.assertEqual((code, out), (1, ""))
            self.assertRegex(err, r"\Akvkeep: rival: [^\n]+\n\Z")

    def test_tables(self):
        for name, titles in [("attention", ("layout", "of read", "x f16")),
                             ("memory", ("working set", "random")),
                             ("decode", ("tokens/s", "no rival was measured"))]:
            code, out, _ = run("bench", name, *TINY[name])
            self.assertEqual(code, 0)
            for title in titles:
                self.assertIn(title, out)

    def test_refusals(self):
        self.assert_refused("bench", says="subcommand")
        self.assert_refused("bench", "nosuch", says="attention, memory, compress, decode")
        for option, value, says in [
                ("--layouts", "u9", "u4"), ("--layouts", "f16/u4", "f16 stands"),
                ("--layouts", "u4g512", "not a group"), ("--context", "0", "1 to"),
                ("--context", "4M", "4M"), ("--context", "", "--context"),
                ("--gqa", "17", "1 to 16"), ("--head-dim", "12", "multiples of 8"),
                ("-t", "0", "1 to"), ("--rounds", "0", "number"), ("--mb", "-1", "number"),
                ("--mb", "900000", "are free"), ("--at", "nosuch", "attend"),
                ("--isas", "scalar,nosuch", "allowed: scalar")]:
            self.assert_refused("bench", "attention", option, value, says=says)
        self.assert_refused("bench", "compress", "--plans", "nosuch", says="nosuch")
        self.assert_refused("bench", "decode", "--depths", "2K", says="allowed: up to")
        self.assert_refused("bench", "decode", "--random", "-m", "x.gguf", says="exclude")
        self.assert_refused("bench", "decode", "-m", "/nonexistent", says="/nonexistent")


class Baseline(unittest.TestCase):
    """The part of the adapters of llama.cpp that needs no llama.cpp."""

    def test_stretches_a_saved_state(self):
        import struct
        sys.path.insert(0, os.path.join(SOURCE, "bench", "baselines"))
        from saved_state import stretched

        def state(count, rows, transposed):
            cells = b"".join(struct.pack("<iIi", i, 1, 0) for i in range(count))
            keys = struct.pack("<iQ", 1, 2) + rows
            values = struct.pack("<iQ", 1, 2) + rows
            if transposed:  # two channels of one byte each
                values = struct.pack("<iII", 1, 1, 2) + rows[::2] + rows[1::2]
            return (b"MAGICSEQ" + struct.pack("<II", 1, count) + cells +
                    struct.pack("<II", transposed, 1) + keys + values + b"end")

        form = (12, struct.pack("<Ii", 1, 0), 3)
        for transposed in (0, 1):
            short = state(2, b"abcd", transposed)
            self.assertEqual(bytes(stretched(short, 5, *form)),
                             state(5, b"abcdabcdab", transposed))
            for wrong in (short + b"x", short[:-1], short[:20] + b"x" + short[21:]):
                with self.assertRaises(ValueError):
                    stretched(wrong, 5, *form)


if __name__ == "__main__":
    unittest.main()
