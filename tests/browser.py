"""A real browser for tests: Debian's Chromium, driven by Playwright, with axe for accessibility.

A test is marked `chromium`, takes the fixture `browser`, and opens tabs by `open_page`.
"""

import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Request, sync_playwright

__all__ = ["browser", "open_page", "violations"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window. It is closed after each module: Playwright's event loop would run
    on in this thread, where `asyncio.run` is then refused.
    """
    options = ["--no-sandbox", "--disable-gpu", "--force-color-profile=srgb"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=options, env={"LANG": "C.UTF-8"}
        )
        yield started
        started.close()


def open_page(
    browser: Browser, width: int = 1440, height: int = 900, dark: bool = False
) -> tuple[Page, set[str]]:
    """An empty tab of a new profile.

    Returns:
        The tab, and the hosts that it has made requests to, a set that grows.
    """
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
    )
    hosts: set[str] = set()

    def note(request: Request) -> None:
        host = urlsplit(request.url).hostname  # None for data: and blob:
        if host is not None:
            hosts.add(host)

    page.on("request", note)
    return page, hosts


def violations(page: Page) -> list[str]:
    """What axe finds wrong with the accessibility of a tab: rule, and places in the page."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {' '.join(str(node['target']) for node in one['nodes'])}" for one in found
    ]
