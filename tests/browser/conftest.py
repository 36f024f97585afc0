"""A headless Chromium in front of the real ComfyUI that the node tests start."""

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Software drawing, and sound that starts without a click: a page that nobody sits at.
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--autoplay-policy=no-user-gesture-required"]

_spec = spec_from_file_location("dualdub_node_fixtures", Path(__file__).parents[1] / "nodes" / "conftest.py")
assert _spec is not None
assert _spec.loader is not None
_fixtures = module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)
comfy, comfy_path, comfy_python = _fixtures.comfy, _fixtures.comfy_path, _fixtures.comfy_python


@pytest.fixture(scope="session")
def browser(comfy_path: Path) -> Iterator[Any]:
    """A headless Chromium, or a skip that says what is missing."""
    if find_spec("playwright") is None:
        pytest.skip("no playwright: pip install playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        named = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUMS)), None)
        program = Path(named or playwright.chromium.executable_path)
        if not program.is_file():
            pytest.skip("no chromium: install one, name it in CHROMIUM, or run `playwright install chromium`")
        chromium = playwright.chromium.launch(executable_path=program, headless=True, args=SWITCHES)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: DUALDUB_SCREENSHOTS, or a folder of the test run."""
    named = os.environ.get("DUALDUB_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
