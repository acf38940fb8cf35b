"""The page of /docs as a person uses it, in a real browser: say who you are, make a call, see the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.front.conftest import TenantKeys
from tests.support.api import Api
from tests.support.browser import browser
from tests.support.database import Database

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SECONDS = 1000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as program:
        yield program


@pytest.fixture
def page(
    chromium: Browser, start_front: Callable[..., Api], module_database: Database, module_api: Api
) -> Iterator[Page]:
    """The page, loaded. Whatever the console or the network complains of fails the test."""
    front = start_front(module_database.url("front"), FLOWGRES_API_URL=module_api.url)
    page = chromium.new_page()
    page.set_default_timeout(60 * SECONDS)
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(f"{request.url}: {request.failure}"))
    page.goto(f"{front.url}/docs")
    yield page
    page.close()
    assert complaints == []


def _authorize(page: Page, key: str) -> None:
    page.get_by_role("button", name="Authorize", exact=True).click()
    dialog = page.locator(".dialog-ux")
    dialog.locator(".auth-container", has_text="X-API-Key").locator("input").fill(key)
    dialog.locator(".auth-container", has_text="X-API-Key").locator("button.authorize").click()
    expect(dialog.locator(".auth-container", has_text="X-API-Key").locator("button", has_text="Logout")).to_be_visible()
    dialog.locator("button.btn-done").first.click()


def _call(page: Page, operation: str, body: str) -> None:
    """Open an operation, send a body, wait for the answer."""
    block = page.locator(f"[id$='-{operation}']").first
    block.locator(".opblock-summary-control").click()
    block.locator("textarea.body-param__text").fill(body)
    block.locator("button.execute").click()


def test_authorized_call_is_made_from_the_page(page: Page, tenant: TenantKeys) -> None:
    _authorize(page, tenant.viewer)
    _call(page, "preview_schedule", '{"cron": "0 6 * * *", "timezone": "UTC", "count": 1}')
    answer = page.locator("[id$='-preview_schedule']").first.locator(".live-responses-table .response").first
    expect(answer.locator(".response-col_status")).to_contain_text("200", timeout=60 * SECONDS)
    expect(answer).to_contain_text("at 06:00 every day, UTC")


def test_views_of_the_other_document_are_shown(page: Page, tenant: TenantKeys) -> None:
    expect(page.locator("[id$='-preview_schedule']").first).to_be_visible(timeout=60 * SECONDS)
    page.locator("#document").select_option("Views and functions, by PostgREST")
    expect(page.locator("#swagger")).to_contain_text("lists what its reader may use", timeout=60 * SECONDS)
    _authorize(page, tenant.viewer)
    expect(page.locator("#swagger")).to_contain_text("/executions", timeout=60 * SECONDS)
