"""The picture of a run's page that the README shows: ``python -m benchmarks.pictures``.

It trains on the built-in simulator, opens the page in Chromium and keeps its first screen as
``docs/images/report.png``.
"""

import shutil
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from dfl.config import read_study
from dfl.pipeline import Silent, run

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "report.png"
STUDY = {"method": "grounded", "training": {"members": 3}, "budgets": [{"share": 0.3}], "seed": 1}
WIDTH, HEIGHT = 860, 985
MOST = 150_000  # bytes


def main() -> None:
    """Train, look, and write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "run"
        run(read_study(STUDY), place, Silent())
        screen = seen(place / "report.html")
    picture = BytesIO()
    Image.open(BytesIO(screen)).convert("RGB").quantize(64).save(picture, "PNG", optimize=True)
    assert len(picture.getvalue()) <= MOST
    PICTURE.write_bytes(picture.getvalue())
    print(f"{PICTURE}: {len(picture.getvalue()):,} bytes")


def seen(page: Path) -> bytes:
    """Return the first screen of a page as PNG."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        tab.goto(page.as_uri())
        found = tab.screenshot()
        browser.close()
    return found


if __name__ == "__main__":
    main()
