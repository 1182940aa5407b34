"""Runs the built kvkeep for the command line tests; standard library only.

The environment variable KVKEEP names the binary and KVKEEP_SOURCE the source tree.
"""
import json
import os
import subprocess
import unittest

BINARY = os.environ["KVKEEP"]
SOURCE = os.environ["KVKEEP_SOURCE"]
MODEL = os.path.join(SOURCE, "models", "kvkeep-5m-f16.gguf")
TIMEOUT = 300


def run(*args, stdin=b"", stdout=subprocess.PIPE, **environment):
    """(exit code, stdout, stderr) of one call; without stdin, standard input is empty."""
    done = subprocess.run([BINARY, *args], input=stdin, stdout=stdout, stderr=subprocess.PIPE,
                          env={**os.environ, **environment}, timeout=TIMEOUT, check=False)
    return done.returncode, (done.stdout or b"").decode(), done.stderr.decode(errors="replace")


class CliTest(unittest.TestCase):
    def assert_refused(self, *args, says="", **more):
        """Exit code 2, nothing on stdout, one line on stderr that says what is wrong."""
        code, out, err = run(*args, **more)
        self.assertEqual(code, 2, (args, out[:300], err[:300]))
        self.assertEqual(out, "", args)
        self.assertRegex(err, r"\Akvkeep: [^\n]+\n\Z", args)
        self.assertIn(says, err, args)

    def json_of(self, *args, code=0):
        """The one JSON object a call prints."""
        found, out, err = run(*args)
        self.assertEqual(found, code, (args, err))
        return json.loads(out)
