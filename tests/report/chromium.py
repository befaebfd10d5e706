"""A headless Chromium that is told what to do over its DevTools protocol: enough to test and to photograph a page.

Protocol: https://chromedevtools.github.io/devtools-protocol/ (JSON messages over a local websocket).
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip
PATIENCE_S = 60.0


def find_chromium() -> str | None:
    """The path of a browser that can be driven, None when there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def chromium(program: str) -> Iterator[Chromium]:
    """A browser with one empty page, ended with the block."""
    with tempfile.TemporaryDirectory(prefix="tickreplay-chromium-", ignore_cleanup_errors=True) as folder:
        command = [program, *FLAGS, f"--user-data-dir={folder}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(_address(process, Path(folder)), max_size=None, compression=None) as socket:
                yield Chromium(socket)
        finally:
            _end(process)


def _address(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Where it listens: it writes that into its folder when it is ready."""
    path = folder / "DevToolsActivePort"
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"Chromium ended at once with code {process.returncode}")
        lines = path.read_text().split() if path.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.02)
    raise TimeoutError(f"Chromium has not begun to listen within {PATIENCE_S:.0f} s")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Chromium:
    """The page of a running browser.

    Since the last `open`: `requests` are the URLs that it asked for, `blocked` the reasons why some were not sent,
    `errors` what the console complained of.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.numbers = count(1)
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.blocked: list[str] = []
        self.session = ""
        page = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask for something and wait for the answer; what happens meanwhile is noted.  RuntimeError for a refusal."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        self.socket.send(json.dumps({**message, "sessionId": self.session} if self.session else message))
        while True:
            answer = json.loads(self.socket.recv(timeout=PATIENCE_S))
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer.get("method", ""), answer.get("params", {}))

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Network.loadingFailed" and "blockedReason" in params:
            self.blocked.append(params["blockedReason"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.errors.append(json.dumps(params["args"]))

    def evaluate(self, code: str) -> Any:
        """The value of a JavaScript expression (a promise is awaited).  RuntimeError when it throws."""
        answer = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def wait(self, code: str) -> None:
        """Until the JavaScript expression is true."""
        self.until(lambda: bool(self.evaluate(code)), code)

    def until(self, happened: Callable[[], bool], what: str) -> None:
        """Until `happened`, looking again after each frame.  TimeoutError that names `what` when it never does."""
        end = time.monotonic() + PATIENCE_S
        while not happened():
            if time.monotonic() > end:
                raise TimeoutError(f"{what} has not come true within {PATIENCE_S:.0f} s")
            self.settle()

    def size(self, width: int, height: int, ratio: float = 1.0, mobile: bool = False) -> None:
        """Pretend to be a screen of that size in CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=ratio,
                  mobile=mobile)  # fmt: skip
        self.settle()

    def dark(self, wanted: bool) -> None:
        """Pretend that the reader prefers a dark or a light page."""
        value = "dark" if wanted else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])
        self.settle()

    def open(self, path: Path) -> None:
        """Load a file and wait until it has drawn itself."""
        self.requests, self.errors, self.blocked = [], [], []
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait(f"document.readyState === 'complete' && location.href === {json.dumps(path.resolve().as_uri())}")
        self.settle()

    def settle(self) -> None:
        """Until what was asked for has been drawn (two frames)."""
        frames = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
        self.evaluate(frames)

    def place(self, selector: str) -> tuple[float, float]:
        """The middle of an element, scrolled into view, in CSS pixels of the window."""
        code = f"""(() => {{ const e = document.querySelector({json.dumps(selector)});
            e.scrollIntoView({{block: "center"}}); const b = e.getBoundingClientRect();
            return [b.left + b.width / 2, b.top + b.height / 2]; }})()"""
        x, y = self.evaluate(code)
        return x, y

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """A mouse event at a place: mouseMoved, mousePressed, mouseReleased, mouseWheel."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float) -> None:
        """Move there, press and release the left button."""
        self.mouse("mouseMoved", x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", buttons=1, clickCount=1)
        self.settle()

    def drag(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """Press, move, release."""
        self.mouse("mousePressed", x1, y1, button="left", buttons=1, clickCount=1)
        self.mouse("mouseMoved", (x1 + x2) / 2, (y1 + y2) / 2, button="left", buttons=1)
        self.mouse("mouseMoved", x2, y2, button="left", buttons=1)
        self.mouse("mouseReleased", x2, y2, button="left", buttons=1, clickCount=1)
        self.settle()

    def key(self, key: str, shift: bool = False) -> None:
        """Press and release a key, named as in KeyboardEvent.key."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, modifiers=8 * shift, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, modifiers=8 * shift)
        self.settle()

    def photograph(self, path: Path, whole: bool = False) -> None:
        """The window, or the whole page, as PNG."""
        more: dict[str, Any] = {}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            more = {"captureBeyondViewport": True, "clip": {**size, "scale": 1}}
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png", **more)["data"]))
