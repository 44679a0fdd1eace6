"""The page of a watch, in a real browser and without: it changes as images come, asks nobody else, and runs nothing."""

import asyncio
import itertools
import json
import re
import socket

import pytest
from msgspec.structs import replace
from report_support import HOSTILE
from selenium.webdriver.common.by import By
from support import wait_until
from traces_builder import HTTP, KAFKA, STRAIGHT, spans
from watch_support import as_protobuf, post
from watching_support import get, watching

from otel_kfs import semconv
from otel_kfs.watch.core.live_measurement import LiveMeasurement
from otel_kfs.watch.display import live_page
from otel_kfs.watch.display.live_page import MOST_BROWSERS, LivePage
from otel_kfs.watch.display.page_output import PageOutput

_numbers = itertools.count()


@pytest.fixture
def output():
    return PageOutput(0)


@pytest.fixture
def service(output):
    with watching(output.sites) as service:
        output.follow(service)
        yield service


def send(service, drawing, size=1_100_000, cell=""):
    """Send the spans of one image by OTLP."""
    root, *others = spans(drawing, f"t{next(_numbers):05}")
    attributes = root.attributes | {semconv.IMAGE_SIZE: size} | ({semconv.CELL: cell} if cell else {})
    request = as_protobuf([replace(root, attributes=attributes), *others])
    assert post(f"http://127.0.0.1:{service.http_port}", request).status_code == 200


def url(service):
    return f"http://127.0.0.1:{service.site_ports[0]}/"


def text(chromium):
    return chromium.find_element(By.TAG_NAME, "body").text


def complaints(chromium):
    return [entry["message"] for entry in chromium.get_log("browser")]


def requests(chromium):
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


@pytest.mark.chromium
def test_the_page_changes_while_images_are_sent_and_asks_nobody_else(chromium, service, output):
    chromium.get(url(service))
    assert "Waiting for images: 0 spans came." in text(chromium)
    for drawing, size in itertools.product((HTTP, KAFKA), (1_100_000, 10_200_000)):
        send(service, drawing, size)
    wait_until("the images", lambda: "4 images measured" in text(chromium))
    assert "1000.0 ms at 1.1MB and 1000.0 ms at 10.2MB over HTTP" in text(chromium)
    assert len(chromium.find_elements(By.CSS_SELECTOR, "#minute .scroll.wide svg.chart rect")) > 40
    assert [one.text for one in chromium.find_elements(By.CSS_SELECTOR, "caption")] == [
        "HTTP, 1.1MB", "HTTP, 10.2MB", "Kafka, 1.1MB", "Kafka, 10.2MB",
    ]  # fmt: skip
    before = chromium.find_element(By.ID, "figures").text
    send(service, STRAIGHT, 3_300_000)
    wait_until("the next image", lambda: "HTTP, 3.3MB" in chromium.find_element(By.ID, "figures").text)
    assert chromium.find_element(By.ID, "figures").text != before
    assert set(requests(chromium)) == {url(service) + path for path in ("", "live.css", "live.js", "events")}
    assert complaints(chromium) == []
    # A phone's width: nothing sticks out.
    chromium.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    assert chromium.execute_script("return document.documentElement.scrollWidth") == 390
    # The watch ends: the figures stay, and the page says so.
    service.stop()
    wait_until("the page notices", lambda: text(chromium).startswith("Not connected: the watch has ended"))
    assert "HTTP, 3.3MB" in text(chromium)


@pytest.mark.chromium
def test_who_reads_a_table_by_keyboard_stays_in_it_where_it_was_while_figures_change(chromium, service):
    send(service, HTTP)
    chromium.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    chromium.get(url(service))
    wait_until("the image", lambda: "1 image measured" in text(chromium))
    chromium.execute_script("""
        const table = document.querySelector("#figures .scroll");
        table.focus();
        table.scrollLeft = 120;
        table.dataset.old = "yes";
    """)
    send(service, HTTP)
    wait_until("the next image", lambda: "2 images measured" in text(chromium))
    assert chromium.execute_script("""
        const table = document.querySelector("#figures .scroll");
        return [table.dataset.old, table === document.activeElement, table.scrollLeft];
    """) == [None, True, 120]


@pytest.mark.chromium
def test_in_a_dark_scheme_the_page_is_dark_and_its_text_can_be_read(chromium, service):
    def luminance(colour):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    send(service, HTTP)
    chromium.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"media": "", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    chromium.get(url(service))
    wait_until("the image", lambda: "1 image measured" in text(chromium))
    page = luminance(chromium.execute_script("return getComputedStyle(document.body).backgroundColor"))
    colours = chromium.execute_script("""
        const holds = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        return [...document.querySelectorAll("#live *:not(svg *):not(.chip *)")].filter(holds)
            .map((one) => getComputedStyle(one).color);
    """)
    assert page < 0.05
    # WCAG 2.2, 1.4.3: a contrast of 4.5 to 1.
    assert {colour for colour in colours if (luminance(colour) + 0.05) / (page + 0.05) < 4.5} == set()


@pytest.mark.chromium
def test_a_page_that_was_refused_connects_again(chromium, service, monkeypatch):
    monkeypatch.setattr(live_page, "MOST_BROWSERS", 0)
    chromium.get(url(service))
    wait_until("the page notices", lambda: text(chromium).startswith("Not connected"))
    monkeypatch.setattr(live_page, "MOST_BROWSERS", MOST_BROWSERS)
    send(service, STRAIGHT)
    wait_until("the image", lambda: "1 image measured" in text(chromium))
    assert "Not connected" not in text(chromium)


@pytest.mark.chromium
def test_no_name_runs_or_breaks_the_page(chromium, service):
    chromium.get(url(service))
    names = [name for name in HOSTILE.values() if name.isascii() or name.encode(errors="ignore").decode() == name]
    for name in names:
        send(service, STRAIGHT, cell=name)
    wait_until("all series", lambda: len(chromium.find_elements(By.CSS_SELECTOR, "caption")) == len(names))
    assert chromium.execute_script("return window.ran") is None
    assert [
        one.tag_name for one in chromium.find_elements(By.CSS_SELECTOR, "#live img, #live iframe, #live script")
    ] == []
    assert [one.get_attribute("id") for one in chromium.find_elements(By.CSS_SELECTOR, "#live > *")] == [
        "head", "minute", "since", "figures", "coverage",
    ]  # fmt: skip
    assert complaints(chromium) == []


def test_nothing_but_the_page_s_own_may_run_and_nobody_may_frame_it(service):
    headers = get(service, "/").headers
    assert headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")


def test_without_scripts_the_page_has_the_figures_of_when_it_was_loaded(service):
    send(service, STRAIGHT)
    wait_until("the image", lambda: "An image of 1.1MB takes 500.0 ms over HTTP" in get(service, "/").text)


def test_a_name_of_somebody_else_s_that_leads_here_reads_nothing(service):
    assert get(service, "/", headers={"host": "evil.example"}).status_code == 400


def test_a_browser_that_does_not_read_or_vanishes_holds_nothing_up(service):
    def opened():
        client = socket.create_connection(("127.0.0.1", service.site_ports[0]))
        client.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return client

    slow = [opened() for _ in range(MOST_BROWSERS)]
    for one in slow:
        assert one.recv(15) == b"HTTP/1.1 200 OK"
    refused = get(service, "/events")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
    send(service, STRAIGHT)
    wait_until("the image is measured", lambda: service.latest().since_start.coverage.measured == 1)
    for one in slow:
        one.close()

    def has_room():
        with opened() as client:
            return client.recv(15) == b"HTTP/1.1 200 OK"

    wait_until("there is room again", has_room)


def test_a_slow_browser_gets_the_latest_figures_and_none_between():
    live, moments = LiveMeasurement(0.0), itertools.count(1)
    shown = [live.snapshot(0.0)]

    async def taken():
        stream = LivePage(lambda: shown[-1], list, lambda: False)._events()
        first = await anext(stream)
        for _ in range(5):  # while the browser reads nothing
            live.add(spans(STRAIGHT, f"t{next(_numbers):05}"), float(next(moments)))
            shown.append(live.snapshot(float(next(moments))))
        return first, await anext(stream)

    first, second = asyncio.run(taken())
    assert "Waiting for images" in json.loads(first.removeprefix("data: "))["html"]
    assert "5 images measured" in json.loads(second.removeprefix("data: "))["html"]


def test_a_segment_has_the_letter_of_the_legend_whatever_the_last_minute_lacks():
    live = LiveMeasurement(0.0)
    live.add(spans(KAFKA, "k"), 0.0)
    live.add(spans(STRAIGHT, "s"), 100.0)
    snapshot = live.snapshot(110.0)
    html = LivePage(lambda: snapshot, list, lambda: False)._html()
    minute = html[html.index('id="minute"') : html.index('id="since"')]
    legend, chart, _ = minute.split('class="chart"')
    letters = dict(re.findall(r'data-segment="predictor( \w+)?".*?>([A-Z])</text>', legend))
    assert set(re.findall(r">([A-Z])</text>", chart)) < set(letters.values())


def test_what_can_t_be_drawn_is_said_and_the_next_figures_are_drawn(monkeypatch):
    shown = [LiveMeasurement(0.0).snapshot(0.0)]
    page = LivePage(lambda: shown[-1], list, lambda: False)
    with monkeypatch.context() as broken:
        broken.setattr("otel_kfs.watch.display.live_page.rates", lambda _: 1 / 0)
        assert "can't be drawn; the log of the watch says why" in page._html()
    shown.append(LiveMeasurement(0.0).snapshot(1.0))
    assert "Waiting for images: 0 spans came." in page._html()


def test_a_snapshot_is_drawn_once_for_all_browsers(monkeypatch):
    snapshot, drawn = LiveMeasurement(0.0).snapshot(0.0), []
    page = LivePage(lambda: snapshot, list, lambda: False)
    monkeypatch.setattr(page, "_draw", lambda one: drawn.append(one) or "")
    page._html()
    page._html()
    assert drawn == [snapshot]
