"""How the page looks in a browser: nothing overflows or is empty at the widths of a desk and a phone, and all text can be read.

Needs Chromium; where there is none, it says so and is skipped.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium: install one to look at the page")

# Small text needs a contrast of 4.5 to 1 (WCAG 2.2, 1.4.3).
LEAST_CONTRAST = 4.5

# What a page looks like from within: too wide elements, figures, and the worst contrast of its text.
LOOK = """
const page = document.querySelector('iframe').contentDocument, view = page.defaultView;
const rgb = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = node => {
  for (; node; node = node.parentElement) { const c = rgb(view.getComputedStyle(node).backgroundColor); if (c[3]) return c; }
  return [255, 255, 255, 1];
};
const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
const texts = [...page.body.querySelectorAll('*')].filter(node => node.offsetParent && !node.closest('svg')
  && [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim()));
const told = texts.map(node => [ratio(rgb(view.getComputedStyle(node).color), behind(node)), node.textContent.slice(0, 60)]);
document.title = JSON.stringify({
  width: page.documentElement.clientWidth,
  content: page.documentElement.scrollWidth,
  texts: texts.length,
  worst: told.sort((a, b) => a[0] - b[0])[0],
  ink: view.getComputedStyle(page.body).color,
  figures: [...page.querySelectorAll('figure svg')].map(svg => {
    const box = svg.getBoundingClientRect();
    const count = parts => svg.querySelectorAll(parts).length;
    return {width: box.width, height: box.height, parts: count('path, use, image'), pictures: count('image')};
  }),
});
"""


def browse(folder: Path, *options: str) -> str:
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/profile"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120, check=True, cwd=folder)
    return done.stdout


def framed(folder: Path, html: str, width: int, script: str = "") -> Path:
    """A file that shows the page in a frame of this width: a window of its own cannot be as narrow as a phone."""
    path = folder / "framed.html"
    frame = f'<iframe style="border:0;width:{width}px;height:2400px" srcdoc="{escape(html)}"></iframe>'
    ready = f"<script>document.querySelector('iframe').onload = () => {{{script}}};</script>"
    path.write_text(f'<!doctype html><meta charset="utf-8"><body style="margin:0">{frame}{ready}</body>')
    return path


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_overflows_or_is_empty_and_all_text_can_be_read(tmp_path: Path, html: str, width: int, colours: str) -> None:
    path = framed(tmp_path, html, width, LOOK)
    scheme = f"--blink-settings=preferredColorScheme={int(colours == 'light')}"
    dom = browse(tmp_path, scheme, "--window-size=1400,2400", "--virtual-time-budget=20000", "--dump-dom", f"file://{path}")
    title = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
    assert title is not None
    seen: dict[str, Any] = json.loads(unescape(title[1]))
    assert seen["width"] == width
    assert seen["content"] <= width
    assert seen["texts"] > 500
    assert seen["worst"][0] >= LEAST_CONTRAST, seen["worst"]
    assert len(seen["figures"]) >= 7
    for figure in seen["figures"]:
        assert min(figure["width"], figure["height"]) > 100
        # A figure of pictures has hardly anything but these.
        assert figure["parts"] > 10 or figure["pictures"] >= 6
    ink = sum(map(int, re.findall(r"\d+", seen["ink"])[:3]))
    assert (ink > 380) == (colours == "dark")


@pytest.mark.parametrize("width", [1280, 390])
def test_a_screenshot_shows_text_and_colour(tmp_path: Path, html: str, width: int) -> None:
    path = framed(tmp_path, html, width)
    shot = tmp_path / "shot.png"
    browse(
        tmp_path,
        f"--screenshot={shot}",
        f"--window-size={max(width, 500)},2400",
        "--virtual-time-budget=20000",
        f"file://{path}",
    )
    pixels = np.asarray(Image.open(shot).convert("RGB"), np.int64)[:, :width]
    assert pixels.shape[1] == width
    # Every stretch of the first screens holds something, and states are told in colour.
    assert all(part.std() > 3 for part in np.array_split(pixels, 8))
    assert (np.ptp(pixels, axis=2) > 60).any()
