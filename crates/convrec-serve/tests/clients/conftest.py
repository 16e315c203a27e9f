import os
import shutil

import pytest
from playwright.sync_api import expect, sync_playwright
from serving import PATIENCE, Gate, Server

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="session")
def server():
    server = Server()
    yield server
    server.kill()


@pytest.fixture
def gate(server):
    gate = Gate(server)
    yield gate
    gate.close()


@pytest.fixture(scope="session")
def browser():
    if not CHROMIUM:
        pytest.skip("there is no chromium")
    # Its sandbox does not work for root, as in a container.
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, server):
    """Opens the page. At the end of a test nothing may have gone wrong that it does not expect."""
    contexts, pages = [], []

    def opened(url=server.url, **options):
        context = browser.new_context(**options)
        context.set_default_timeout(1000 * PATIENCE)
        context.add_init_script(
            "addEventListener('securitypolicyviolation', (e) => console.error(e.violatedDirective))"
        )
        page = context.new_page()
        page.expected = []  # parts of what the console may say
        page.trouble = []
        page.on("console", lambda told: note(page, told.type, told.text))
        page.on("pageerror", lambda error: page.trouble.append(str(error)))
        page.on("dialog", lambda dialog: (page.trouble.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: own(page, url, request.url))
        contexts.append(context)
        pages.append(page)
        page.goto(url)
        # A function that is waited for is evaluated, which the page's policy forbids at times.
        expect(page.locator("#about")).not_to_be_empty(timeout=1000 * PATIENCE)
        return page

    yield opened
    trouble = [trouble for page in pages for trouble in page.trouble]
    for context in contexts:
        context.close()
    assert trouble == []


def note(page, kind, text):
    if kind in ("error", "warning") and not any(part in text for part in page.expected):
        page.trouble.append(f"{kind}: {text}")


def own(page, url, asked):
    if not asked.startswith(url + "/"):
        page.trouble.append(f"{asked} is not of the server")
