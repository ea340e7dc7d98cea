"""What tests of pages rely on: the browser runs, axe finds faults, other hosts are noticed."""

import pytest

from tests.browser import open_page, violations

PAGE = '<html lang="en"><title>A page</title><main><h1>A page</h1>{}</main>'

pytestmark = pytest.mark.chromium


def test_axe_finds_an_image_without_a_text_and_a_pale_word(browser):
    page, _ = open_page(browser)
    page.set_content(PAGE.format("<p>Some words</p>"))
    assert violations(page) == []
    page.set_content(PAGE.format('<img src="data:,"><p style="color: #ccc">Some words</p>'))
    assert violations(page) == ["color-contrast: ['p']", "image-alt: ['img']"]


def test_requests_to_other_hosts_are_noticed(browser):
    page, hosts = open_page(browser)
    page.set_content(PAGE.format('<img alt="" src="http://127.0.0.2:9/a.png">'))
    assert hosts == {"127.0.0.2"}
