"""A headless Chromium, spoken to through its DevTools protocol."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import websocket

from tests.study.conftest import wait_until

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--remote-debugging-port=0", "--remote-allow-origins=*", "about:blank",
)  # fmt: skip


class Browser:
    """One tab; ``events`` are the messages that the browser sent by itself."""

    session = None

    def __init__(self):
        program = shutil.which("chromium") or shutil.which("google-chrome")
        if program is None:
            pytest.skip("Chromium is not installed: `apt-get install chromium`")
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        command, null = [program, f"--user-data-dir={self.folder.name}"], subprocess.DEVNULL
        self.process = subprocess.Popen([*command, *OPTIONS], stdout=null, stderr=null)
        self.events, self._number = [], 0
        path = Path(self.folder.name) / "DevToolsActivePort"
        lines = wait_until(lambda: path.exists() and path.read_text().splitlines()[1:])
        port = path.read_text().splitlines()[0]
        self.socket = websocket.create_connection(f"ws://127.0.0.1:{port}{lines[0]}", timeout=60)
        targets = self.send("Target.getTargets")["targetInfos"]
        tab = next(target["targetId"] for target in targets if target["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=tab, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method, **parameters):
        """One command and its result; what arrives meanwhile is kept."""
        self._number += 1
        session = {"sessionId": self.session} if self.session else {}
        message = {"id": self._number, "method": method, "params": parameters, **session}
        self.socket.send(json.dumps(message))
        while (answer := json.loads(self.socket.recv())).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def run(self, script):
        """The value of an expression in the page."""
        options = {"expression": script, "returnByValue": True, "awaitPromise": True}
        found = self.send("Runtime.evaluate", **options)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def open(self, address, ready):
        """Load an address and wait until the expression ``ready`` is true."""
        self.send("Page.navigate", url=address)
        loaded = f"document.readyState === 'complete' && Boolean({ready})"
        wait_until(lambda: self.run(loaded))

    def happened(self, *methods):
        """The parameters of the events of some kinds."""
        return [event["params"] for event in self.events if event.get("method") in methods]

    def key(self, name, code):
        """Press and release a key."""
        key = {"key": name, "code": name, "windowsVirtualKeyCode": code}
        for kind in ("rawKeyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, **key)

    def close(self):
        """End the browser and remove its folder."""
        self.socket.close()
        self.process.terminate()
        self.process.wait(10)
        self.folder.cleanup()
