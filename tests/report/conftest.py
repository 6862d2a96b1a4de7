"""A page in headless Chromium, driven over its debugging pipe (Chrome DevTools Protocol) with the standard library."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from isocenter.records import Case, Flag, LabelMap, LabelSchema, Prediction, Provenance
from isocenter.report import findings_of, write_report
from isocenter.volume import Grid, Volume

SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
PATIENCE_S = 60.0
OWN_DOING = "Canvas2D: Multiple readback"  # advice against reading pixels as often as these tests do


class Page:
    """One tab. It keeps everything that the console said and every address that was asked for."""

    def __init__(self, command: list[str]) -> None:
        (self._in, theirs_out), (theirs_in, self._out) = os.pipe(), os.pipe()
        # Chromium reads commands from descriptor 3 and writes to 4
        script = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer = b""
        self._number = 0
        self.console: list[str] = []
        self.requests: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session: str | None = None
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    _session: str | None = None

    def open(self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False, scale: float = 1) -> None:
        """Load a file at a size and colour scheme, and wait until the viewer stands (where there is one)."""
        self.console.clear()
        self.requests.clear()
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._call("Page.navigate", url=path.as_uri())
        self.wait("document.readyState === 'complete' && !document.getElementById('wait')")
        self.settle()

    def run(self, expression: str) -> Any:
        """Value of a JavaScript expression."""
        done = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise AssertionError(json.dumps(done["exceptionDetails"])[:500])
        return done["result"].get("value")

    def wait(self, expression: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not self.run(expression):
            if time.monotonic() > end:
                raise AssertionError(f"never true: {expression}; console: {self.console}")
            time.sleep(0.05)

    def settle(self) -> None:
        """Two frames, so that what was asked for is drawn."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def key(self, key: str) -> None:
        code = {"PageUp": 33, "PageDown": 34, "End": 35, "Home": 36, "ArrowUp": 38, "ArrowDown": 40, "Tab": 9}.get(
            key, 0
        )
        text = key if len(key) == 1 else ""
        for kind in ("keyDown", "keyUp"):
            extra = {"text": text} if text and kind == "keyDown" else {}
            self._call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **extra)
        self.settle()

    def click(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """Press and release the mouse at a fraction of an element's width and height."""
        left, top = self._place(selector, x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=left, y=top, button="left", clickCount=1)
        self.settle()

    def wheel(self, selector: str, delta: float) -> None:
        left, top = self._place(selector, 0.5, 0.5)
        self._call("Input.dispatchMouseEvent", type="mouseWheel", x=left, y=top, deltaX=0, deltaY=delta)
        self.settle()

    def picture(self, path: Path, *, full: bool = True) -> Path:
        data = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=full)["data"]
        path.write_bytes(base64.b64decode(data))
        return path

    def close(self) -> None:
        try:
            self._session = None
            self._call("Browser.close")
        except (AssertionError, OSError):
            self._process.kill()
        self._process.wait(timeout=20)
        os.close(self._in)
        os.close(self._out)

    def _place(self, selector: str, x: float, y: float) -> tuple[float, float]:
        find = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{find}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = self.run(f"(b => [b.left, b.top, b.width, b.height])({find}.getBoundingClientRect())")
        return box[0] + x * box[2], box[1] + y * box[3]

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return dict(answer.get("result", {}))
            self._note(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], PATIENCE_S)
            part = os.read(self._in, 1 << 20) if ready else b""
            if not part:
                raise AssertionError("Chromium does not answer")
            self._buffer += part
        line, self._buffer = self._buffer.split(b"\0", 1)
        return dict(json.loads(line))

    def _note(self, event: dict[str, Any]) -> None:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.console.append(json.dumps(parameters["exceptionDetails"])[:800])
        elif method == "Runtime.consoleAPICalled":
            self.console.append(json.dumps(parameters["args"])[:800])
        elif method == "Log.entryAdded" and not parameters["entry"]["text"].startswith(OWN_DOING):
            self.console.append(parameters["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"][:200])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A tab in headless Chromium; skips, with the reason, where Chromium is not installed."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed (Debian: apt install chromium fonts-dejavu-core)")
    profile = tmp_path_factory.mktemp("chromium")
    tab = Page([program, *SWITCHES, f"--user-data-dir={profile}"])
    yield tab
    tab.close()


@pytest.fixture
def open_page(page: Page) -> Callable[..., Page]:
    """Open a file and hand the tab back."""

    def open_file(path: Path, **options: Any) -> Page:
        page.open(path, **options)
        return page

    return open_file


def ellipsoid(grid: Grid, center_mm: tuple[float, ...], radii_mm: tuple[float, ...]) -> NDArray[np.bool_]:
    """Voxels whose centre lies in an ellipsoid along the patient's x, y, z."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1)
    return np.asarray((((grid.to_world(index) - center_mm) / radii_mm) ** 2).sum(-1) <= 1)


def chest(orientation: str = "SPL") -> tuple[Volume, Volume, LabelSchema]:
    """A body of 40 HU, 200 mm across, with a lung on each side and a bright ball to the left, in front, above."""
    upright = Grid.regular((32, 96, 110), spacing_mm=(5.0, 2.0, 2.0), origin_mm=(-109.0, -95.0, -77.5), frame="1.2.3")
    ct, labels = np.full(upright.shape, -1000, np.int16), np.zeros(upright.shape, np.uint8)
    ct[ellipsoid(upright, (0, 0, 0), (100, 80, 200))] = 40
    for value, x in ((1, -45), (2, 45)):
        lung = ellipsoid(upright, (x, 0, 0), (35, 55, 70))
        ct[lung], labels[lung] = -850, value
    ball = ellipsoid(upright, (50, -40, 30), (16, 16, 16))
    ct[ball], labels[ball] = 1000, 3
    schema = LabelSchema.of({"lung_right": 1, "lung_left": 2, "ball": 3, "effusion": 4})
    image, label_map = Volume(ct, upright, "HU"), Volume(labels, upright, "label")
    return image.reorient(orientation), label_map.reorient(orientation), schema


@pytest.fixture(scope="session")
def chest_report(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes the report of a simple chest, stored in an orientation, and gives its path."""
    folder = tmp_path_factory.mktemp("reports")

    def write(orientation: str = "SPL") -> Path:
        path = folder / f"{orientation}.html"
        if not path.exists():
            ct, labels, schema = chest(orientation)
            prediction = Prediction(
                Case("chest-1", "patient-1", {}),
                (LabelMap(image="ct", schema=schema, read=lambda: labels),),
                flags=(Flag("noise-high", "The image is noisy.", "review"), Flag("image-resampled", "Resampled.")),
                provenance=Provenance("organs", "0.1.0", "c0ffee" * 10 + "abcd", {"overlap": "0.5"}),
            )
            images = {"ct": ct}
            write_report(path, prediction, images, findings_of(prediction, images))
        return path

    return write
