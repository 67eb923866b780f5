"""The report in a real browser: nothing is cut off at the width of a phone or a desk, and no picture is broken."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import fake_statistics
import pytest

import contexture
from contexture import report

WIDTHS = (320, 390, 1280)
MEASURE = """
const page = this.contentDocument, root = page.documentElement, width = root.clientWidth;
const wide = [...page.querySelectorAll('body *')].filter(e => !e.closest('.scroll *') && e.getBoundingClientRect().right > width + 0.5);
const broken = [...page.images].filter(image => !image.complete || !image.naturalWidth);
document.title += [width, root.scrollWidth, wide.length, broken.length, page.images.length].join(' ') + ';';
"""


def test_page_fits_the_window(tmp_path: Path) -> None:
    """Frames of these widths around the page, with everything opened that can be."""
    browser = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    if not browser:
        pytest.skip("no chromium on PATH; `apt-get install chromium` brings it")
    with contexture.open_run(fake_statistics.write_run(tmp_path / "out")) as run:
        page = report.render(run)
    (tmp_path / "page.html").write_text(page.replace("<details>", "<details open>"), encoding="utf-8")
    frames = [f'<iframe src="page.html" style="width:{width}px;height:900px;border:0" onload="{MEASURE}"></iframe>' for width in WIDTHS]
    (tmp_path / "frames.html").write_text(f"<!DOCTYPE html><title></title>{''.join(frames)}", encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--allow-file-access-from-files", "--virtual-time-budget=10000"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1000", "--dump-dom", (tmp_path / "frames.html").as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    title = re.search("<title>(.*?);</title>", result.stdout)
    assert title, f"the browser did not measure the page: {result.stderr[-500:]}"
    measured = sorted(tuple(map(int, frame.split())) for frame in title[1].split(";"))
    for width, (client, scroll, wide, broken, pictures) in zip(WIDTHS, measured, strict=True):
        assert client == width and pictures == 8 and not broken
        assert scroll <= width and not wide, f"{wide} elements reach beyond {width} px; the page is {scroll} px wide"
