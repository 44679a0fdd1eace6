"""A real Chromium, driven by chromedriver."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service


@pytest.fixture(scope="session")
def _chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--hide-scrollbars", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium's sandbox does not work for root
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # With both paths given, selenium looks for no browser or driver elsewhere.
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def chromium(_chromium: webdriver.Chrome) -> webdriver.Chrome:
    """The browser at an empty page, 1200 pixels wide, light, with nothing in its logs."""
    command = _chromium.execute_cdp_cmd
    command(
        "Emulation.setDeviceMetricsOverride", {"width": 1200, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    command("Emulation.setEmulatedMedia", {"media": "", "features": []})
    command("Emulation.setScriptExecutionDisabled", {"value": False})
    _chromium.get("about:blank")
    for kind in ("browser", "performance"):
        _chromium.get_log(kind)
    return _chromium
