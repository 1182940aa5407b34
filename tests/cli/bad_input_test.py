"""Every kind of bad input: one line on stderr, exit code 2, nothing on stdout."""
import os
import random
import struct
import tempfile
import unittest

from cli import MODEL, CliTest, run

GGUF = b"GGUF" + struct.pack("<I", 3)


class BadUsage(CliTest):
    def test_command_line(self):
        self.assert_refused()
        self.assert_refused("frobnicate", says="frobnicate")
        self.assert_refused("--frobnicate")
        self.assert_refused("run", says="-p TEXT or -f FILE")
        self.assert_refused("run", "-p", "x", "-f", "y", says="-p TEXT or -f FILE")
        self.assert_refused("run", "-p", "x", "extra", says="extra")
        self.assert_refused("inspect")
        self.assert_refused("methods", "--json", "--markdown", says="exclude")

    def test_numbers(self):
        for option, value in [("-n", "0"), ("-n", "-3"), ("-n", "many"), ("-n", "1.5"), ("-n", ""),
                              ("-n", "99999999999999999999"), ("-t", "0"), ("-t", "99999999"),
                              ("-c", "0"), ("--temp", "nan"), ("--temp", "-1"), ("--top-p", "2"),
                              ("--seed", "-1")]:
            self.assert_refused("run", "-p", "x", option, value, says="not a number")
        self.assert_refused("run", "-p", "x", "-c", "1000000", says="1 to 2048")
        self.assert_refused("eval", "--limit", "0", says="not a number")
        self.assert_refused("eval", "--step", "0", says="not a number")
        self.assert_refused("eval", "-c", "4", says="at least 8")
        self.assert_refused("eval", "-c", "128", "--limit", "127", says="127")
        for task in ("lines", "passkey", "needle", "multi_needle", "kv_recall",
                     "variable_tracking"):
            self.assert_refused("eval", "--tasks", task, "-c", "32", says="--ctx")
        self.assert_refused("doctor", "--measure", "-1")
        self.assert_refused("demo", "--facts", "0")
        self.assert_refused("demo", "-c", "100", says="context")

    def test_plans_and_tasks(self):
        for plan in ["nosuch", "", "mikv:keep=7", "mikv:keep=nan", "mikv:nosuch=1", "mikv:keep",
                     "nosuch=rtn", "low=nosuch", "high=rtn:k=u9", "mikv;", "mikv:demote=99",
                     "mikv:keep=0.2:keep=0.3", "aqua2:transform=hadamard", "keep2:transform=centre",
                     "keep1:predictor.near=-1"]:
            self.assert_refused("run", "-p", "x", "--plan", plan)
        self.assert_refused("eval", "--plans", "", says="--plans")
        self.assert_refused("eval", "--plans", "f16 nosuch", says="nosuch")
        self.assert_refused("eval", "--tasks", "nosuch", says="ppl")
        self.assert_refused("eval", "--tasks", "", says="ppl")

    def test_options_of_one_task(self):
        for option in ("--needle", "--question", "--answer", "--kld-save", "--kld-ref"):
            self.assert_refused("eval", option, "x", says=option + " is for task")
        self.assert_refused("eval", "--data", MODEL, "--tasks", "ppl", says="--data is for task")
        self.assert_refused("eval", "--tasks", "data", says="--data FILE")
        self.assert_refused("eval", "--tasks", "needle", "--needle", "x", says="--question")
        self.assert_refused("eval", "--data", "/nonexistent/file", says="/nonexistent/file")
        self.assert_refused("eval", "--data", MODEL, says="kvkeep-5m-f16.gguf:1: not a JSON")
        for size in ("x", "0", "-5%", "101%", "17"):
            self.assert_refused("eval", "--at-bytes", size, "-c", "64", says="bits per value")
        self.assert_refused("eval", "--at-bytes", "10%", "--plans", "rtn2", "-c", "64",
                            says="rtn2")

    def test_calibrations(self):
        self.assert_refused("calibrate", says="--output")
        self.assert_refused("calibrate", "-o", "/nonexistent/x.kvcal", says="cannot write")
        out = os.path.join(tempfile.gettempdir(), "never-written.kvcal")
        for plan in ("mikv", "aqua2:predictor=none", "nosuch"):
            self.assert_refused("calibrate", "--plan", plan, "-o", out)
        self.assert_refused("calibrate", "--tokens", "100", "-o", out, says="at least 16 windows")
        self.assert_refused("calibrate", "--text", "-", "-o", out, stdin=b"a few words",
                            says="too short")
        self.assertFalse(os.path.exists(out))
        for command in (["run", "-p", "x", "--plan"], ["eval", "--plans"]):
            self.assert_refused(*command, "mikv", "--calibration", MODEL, says="with a predictor")
            for path in (MODEL, "/nonexistent"):
                self.assert_refused(*command, "aqua2", "--calibration", path, says=path)

    def test_empty_values(self):
        for option in ("--at-bytes", "--calibration", "--kld-ref", "--kld-save", "--html",
                       "--text", "--data", "-m"):
            self.assert_refused("eval", option, "", says="empty")

    def test_isa(self):
        for command in (["methods"], ["run", "-p", "x"], ["doctor"]):
            self.assert_refused(*command, says="scalar", KVKEEP_ISA="nonsense")

    def test_prompts_and_texts(self):
        self.assert_refused("run", "-p", "", "--no-bos", says="empty")
        self.assert_refused("run", "-p", "one two three four five six", "-c", "4", says="4")
        self.assert_refused("run", "-f", "-", "-n", "1", stdin=b"word " * 20000, says="2048")
        self.assert_refused("run", "-f", "/nonexistent/file", says="/nonexistent/file")
        self.assert_refused("run", "-f", "/", says="'/'")
        self.assert_refused("eval", "--text", "/nonexistent/file", says="/nonexistent/file")
        self.assert_refused("eval", "--text", "-", stdin=b"a few words", says="--ctx")
        self.assert_refused("demo", "--text", "-", stdin=b"a few words", says="shorter")

    def test_pages_that_cannot_be_written_are_refused_before_the_run(self):
        for path in ("/nonexistent/page.html", "/"):
            self.assert_refused("eval", "--limit", "1000000", f"--html={path}", says="cannot write")

    def test_full_disk(self):
        for command in (["methods"], ["inspect", MODEL], ["run", "-p", "x", "-n", "1", "--json"]):
            with open("/dev/full", "wb") as full:
                code, _, err = run(*command, stdout=full)
            self.assertEqual(code, 2, err)
            self.assertIn("kvkeep: cannot write", err.splitlines()[-1])


class BadModel(CliTest):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        with open(MODEL, "rb") as file:
            cls.model = file.read()

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def file(self, content):
        path = os.path.join(self.folder.name, "model.gguf")
        with open(path, "wb") as file:
            file.write(content)
        return path

    def test_not_a_model(self):
        for path in ["/nonexistent.gguf", "/", "line\nfeed", self.folder.name]:
            self.assert_refused("run", "-p", "x", "-m", path)
            self.assert_refused("inspect", path)
        for content in [b"", b"G", b"GGUF", b"not a model at all", self.model[::-1][:4096],
                        b"GGUF" + struct.pack("<I", 2), b"GGUF" + struct.pack("<I", 99)]:
            self.assert_refused("inspect", self.file(content), says="model.gguf")

    def test_truncated(self):
        for size in [8, 23, 24, 100, 5000, len(self.model) // 2, len(self.model) - 1]:
            path = self.file(self.model[:size])
            self.assert_refused("inspect", path, says="model.gguf")
            self.assert_refused("run", "-p", "x", "-m", path, says="model.gguf")

    def test_absurd_sizes(self):
        huge = 2**63 - 1
        for tensors, keys in [(huge, 0), (0, huge), (2**64 - 1, 2**64 - 1), (10**9, 1)]:
            self.assert_refused("inspect", self.file(GGUF + struct.pack("<QQ", tensors, keys)))
        key = struct.pack("<Q", 1) + b"k"
        text = GGUF + struct.pack("<QQ", 0, 1)
        self.assert_refused("inspect", self.file(text + struct.pack("<Q", huge) + b"k"))
        self.assert_refused("inspect", self.file(text + key + struct.pack("<IQ", 8, huge)))
        self.assert_refused("inspect", self.file(text + key + struct.pack("<IIQ", 9, 4, huge)))
        self.assert_refused("inspect", self.file(text + key + struct.pack("<I", 77)))

    def test_wrong_architecture(self):
        where = self.model.index(b"general.architecture")
        content = self.model[:where] + self.model[where:].replace(b"llama", b"rwkv9", 1)
        path = self.file(content)
        self.assert_refused("run", "-p", "x", "-m", path, says="rwkv9")
        self.assertEqual(run("inspect", path)[0], 0)

    def test_flipped_bits_never_crash(self):
        generator = random.Random(1)
        for i in range(40):
            content = bytearray(self.model)
            end = 200 if i % 4 == 0 else 60000  # header, then tokenizer and tensor list
            content[generator.randrange(end)] ^= 1 << generator.randrange(8)
            path = self.file(content)
            load = ["run", "-p", "x", "-n", "1", "-m"]
            command = load if i % 4 == 1 else ["inspect"]
            code, out, err = run(*command, path)
            self.assertIn(code, (0, 1, 2), (i, err))
            if code:
                self.assertEqual(out, "", err)
                self.assertRegex(err, r"\Akvkeep: [^\n]+\n\Z")


if __name__ == "__main__":
    unittest.main()
