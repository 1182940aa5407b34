"""Headless Chromium driven over its debugging pipe; standard library only.

    with Browser() as browser:
        page = browser.open("page.html", width=390, height=844, dark=True)
        page.evaluate("document.title"); page.screenshot("page.png"); page.messages
"""
import base64
import json
import os
import pathlib
import select
import shutil
import subprocess
import tempfile
import time

TIMEOUT = 60


def find():
    """The path of a Chromium, or None."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if shutil.which(name):
            return shutil.which(name)
    return None


class Browser:
    """One browser process with a profile of its own; messages are JSON that end in a zero byte."""

    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="kvkeep.")
        ours, self.out = os.pipe()
        self.into, theirs = os.pipe()
        command = [find(), "--headless=new", "--remote-debugging-pipe", "--no-sandbox",
                   "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                   "--hide-scrollbars",
                   f"--user-data-dir={self.profile}", "about:blank"]
        # The browser reads commands on descriptor 3 and answers on 4.
        shell = ["/bin/sh", "-c", f'exec "$@" 3<&{ours} 4>&{theirs}', "sh", *command]
        self.process = subprocess.Popen(shell, pass_fds=(ours, theirs), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(ours)
        os.close(theirs)
        self.buffer, self.number, self.events = b"", 0, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close")
            self.process.wait(timeout=10)
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.out)
        os.close(self.into)
        shutil.rmtree(self.profile, ignore_errors=True)

    def receive(self, deadline):
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.into], [], [], max(0, deadline - time.monotonic()))
            part = os.read(self.into, 1 << 20) if ready else b""
            if not part:
                raise RuntimeError("the browser does not answer")
            self.buffer += part
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, **params):
        """The result of one command; events that come before it are kept."""
        self.number += 1
        command = {"id": self.number, "method": method, "params": params}
        if session:
            command["sessionId"] = session
        os.write(self.out, json.dumps(command).encode() + b"\0")
        deadline = time.monotonic() + TIMEOUT
        while True:
            message = self.receive(deadline)
            if message.get("id") != self.number:
                self.events.append(message)
            elif "error" in message:
                raise RuntimeError(f"{method}: {message['error']['message']}")
            else:
                return message["result"]

    def open(self, path, width, height, dark=False):
        return Page(self, pathlib.Path(path).resolve().as_uri(), width, height, dark)


class Page:
    """A page of a local file in a window of the given size; messages are the browser's complaints
    and requests the addresses that the page asked for."""

    def __init__(self, browser, address, width, height, dark):
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target,
                                    flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=2 if width < 600 else 1, mobile=width < 600)
        self.media(dark=dark)
        browser.events.clear()
        self.call("Page.navigate", url=address)
        deadline = time.monotonic() + TIMEOUT
        while self.evaluate("document.readyState") != "complete":
            if time.monotonic() > deadline:
                raise RuntimeError(f"{address} does not finish loading")
            time.sleep(0.05)

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def media(self, dark=False, kind=""):
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=kind, features=[scheme])

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                           awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["text"])
        return answer["result"].get("value")

    def params_of(self, *methods):
        return [event["params"] for event in self.browser.events
                if event.get("method") in methods and event.get("sessionId") == self.session]

    @property
    def messages(self):
        found = [entry["entry"]["text"] for entry in self.params_of("Log.entryAdded")]
        found += [str(entry["args"]) for entry in self.params_of("Runtime.consoleAPICalled")]
        return found + [entry["exceptionDetails"]["text"]
                        for entry in self.params_of("Runtime.exceptionThrown")]

    @property
    def requests(self):
        return [entry["request"]["url"] for entry in self.params_of("Network.requestWillBeSent")]

    def screenshot(self, path, whole=False):
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        pathlib.Path(path).write_bytes(base64.b64decode(picture["data"]))
