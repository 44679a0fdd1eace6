"""The report in a real browser: what a reader sees, does and copies; and that no name in it ever runs."""

import base64
import json
import re
from dataclasses import replace

import msgspec
import pytest
from report_support import HOSTILE, ORIGIN, SIZES, compared, contents_of, image, measurement_of_both_transports
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from support import wait_until
from traces_builder import HTTP

from otel_kfs import semconv
from otel_kfs.report.html.comparison_page import comparison_page
from otel_kfs.report.html.page import page

pytestmark = pytest.mark.chromium


@pytest.fixture(scope="module")
def text():
    return page(contents_of(measurement_of_both_transports(25)))


@pytest.fixture
def opened(chromium, text, tmp_path):
    """A report of two ways, three sizes and 25 images each, in the browser."""
    return show(chromium, text, tmp_path)


def show(chromium, text, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(text, encoding="utf-8")
    chromium.get(file.as_uri())
    return chromium


def complaints(chromium):
    return [entry["message"] for entry in chromium.get_log("browser")]


def requests(chromium):
    """The URLs that the page asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def column(chromium, table, heading):
    """The texts of a column, of the rows that are shown."""
    script = (
        "const table = document.getElementById(arguments[0]);"
        "const column = [...table.tHead.rows[0].cells].findIndex((th) => th.textContent.trim() === arguments[1]);"
        "return [...table.tBodies[0].rows].filter((row) => row.offsetParent !== null)"
        ".map((row) => row.cells[column].textContent.trim())"
    )
    return chromium.execute_script(script, table, heading)


def heading(chromium, table, name):
    return next(
        button
        for button in chromium.find_elements(By.CSS_SELECTOR, f"#{table} th button")
        if button.text.strip() == name
    )


def tools(chromium, table):
    return chromium.find_element(
        By.XPATH, f"//table[@id='{table}']/ancestor::div[@class='scroll']/preceding-sibling::div[1]"
    )


# --- it asks nobody, and nothing in it runs ---


def test_the_file_alone_is_asked_for(opened, tmp_path):
    assert requests(opened) == [(tmp_path / "report.html").as_uri()]
    assert complaints(opened) == []


@pytest.fixture(scope="module")
def hostile_text():
    """A report all of whose names are hostile, each in its turn."""
    images = []
    for number, name in enumerate(HOSTILE.values()):
        for size in SIZES[:2]:
            spans = image(
                f"t{number}{size}", size=size, factor=size / 1e6, **{semconv.CELL: name, semconv.RUN_ID: name}
            )
            images.append(
                [
                    msgspec.structs.replace(
                        span, service=name, name=name if span.name.startswith("POST") else span.name
                    )
                    for span in spans
                ]
            )
    everything = " ".join(HOSTILE.values())
    found = contents_of(images, link=lambda one: f"https://jaeger.example/\"'><script>window.ran=1</script>{one}")
    found.measurement.coverage.left_out[everything] = 1
    return page(replace(found, origin=replace(ORIGIN, query=everything, command=everything)))


def test_hostile_names_are_shown_and_never_run(chromium, hostile_text, tmp_path):
    show(chromium, hostile_text, tmp_path)
    assert chromium.execute_script("return window.ran") is None
    assert complaints(chromium) == []
    assert requests(chromium) == [(tmp_path / "report.html").as_uri()]
    assert "<script>window.ran = 1</script>" in chromium.find_element(By.ID, "glance").text
    # The page's own script did run, over all of it.
    assert len(chromium.find_elements(By.CSS_SELECTOR, "#all th button")) > 0


def test_hostile_names_do_not_run_without_the_policy_either(chromium, hostile_text, tmp_path):
    """The escaping is a wall of its own."""
    show(chromium, re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", hostile_text), tmp_path)
    assert chromium.execute_script("return window.ran") is None


@pytest.mark.parametrize(
    "injected",
    ["<script>window.ran = 1</script>", "<img src=x onerror='window.ran = 1'>", "<svg onload='window.ran = 1'>"],
)
def test_the_policy_stops_what_might_get_in(chromium, text, tmp_path, injected):
    """The second wall, without the first."""
    show(chromium, text.replace("<main>", f"<main>{injected}"), tmp_path)
    assert chromium.execute_script("return window.ran") is None
    assert any("Content Security Policy" in complaint for complaint in complaints(chromium))


def test_hostile_names_stay_names_when_pointed_at_and_copied(chromium, hostile_text, tmp_path):
    show(chromium, hostile_text, tmp_path)
    chart = chromium.find_element(By.CSS_SELECTOR, "svg.chart")
    for _ in range(20):
        chart.send_keys(Keys.ARROW_RIGHT)
    assert chromium.find_elements(By.CSS_SELECTOR, "#tip *") == []
    copied = paste_after(chromium, tools(chromium, "all").find_element(By.XPATH, ".//button[text()='Copy TSV']"))
    rows = [line.split("\t") for line in copied.rstrip("\n").split("\n")]
    assert {len(row) for row in rows} == {len(rows[0])}
    assert chromium.execute_script("return window.ran") is None


# --- sorting, filtering, copying ---


def test_a_click_sorts_from_the_largest_down_then_up_then_as_it_was(opened):
    original = column(opened, "all", "p50")
    button = heading(opened, "all", "p50")
    button.click()
    assert column(opened, "all", "p50") == sorted(original, key=float, reverse=True)
    assert button.find_element(By.XPATH, "..").get_attribute("aria-sort") == "descending"
    button.click()
    assert column(opened, "all", "p50") == sorted(original, key=float)
    button.click()
    assert column(opened, "all", "p50") == original
    assert button.find_element(By.XPATH, "..").get_attribute("aria-sort") is None


def test_the_short_tables_are_sorted_by_their_figures_and_sizes_too(opened):
    heading(opened, "glance", "total (4-1) p50, ms").click()
    figures = column(opened, "glance", "total (4-1) p50, ms")
    assert figures == sorted(figures, key=float, reverse=True)
    heading(opened, "glance", "Size").click()
    assert column(opened, "glance", "Size") == ["1.1MB", "1.1MB", "3.3MB", "3.3MB", "10.2MB", "10.2MB"]
    short = opened.find_element(By.XPATH, "//table[caption[normalize-space()='HTTP: seconds']]")
    opened.execute_script("arguments[0].id = 'seconds'", short)
    heading(opened, "seconds", "total (4-1)").click()
    assert column(opened, "seconds", "total (4-1)") == ["3.240", "1.860", "1.420"]


def test_names_are_sorted_as_names(opened):
    heading(opened, "all", "Segment").click()
    found = column(opened, "all", "Segment")
    assert found == sorted(found)


def test_sizes_are_sorted_as_sizes(opened):
    heading(opened, "all", "Size").click()
    assert list(dict.fromkeys(column(opened, "all", "Size"))) == ["1.1MB", "3.3MB", "10.2MB"]


def test_a_sort_needs_no_mouse(opened):
    heading(opened, "all", "max").send_keys(Keys.ENTER)
    found = [float(value) for value in column(opened, "all", "max")]
    assert found == sorted(found, reverse=True)


def test_a_filter_leaves_the_rows_with_all_its_words(opened):
    tools(opened, "all").find_element(By.TAG_NAME, "input").send_keys("kafka 10.2 decode")
    assert column(opened, "all", "Segment") == ["transformer decode", "predictor decode"]
    assert tools(opened, "all").find_element(By.CLASS_NAME, "said").text == "2 of 123 rows"


def paste_after(chromium, button):
    """What the clipboard holds after a click."""
    button.click()
    wait_until("copied", lambda: "copied" in button.find_element(By.XPATH, "following-sibling::span").text)
    chromium.execute_script(
        "const area = document.createElement('textarea'); area.id = 'pasted'; document.body.append(area); area.focus()"
    )
    area = chromium.find_element(By.ID, "pasted")
    area.send_keys(Keys.CONTROL, "v")
    return wait_until("pasted", lambda: area.get_attribute("value"))


def test_the_rows_that_are_shown_are_copied_as_tsv_with_whole_trace_ids(opened):
    tools(opened, "all").find_element(By.TAG_NAME, "input").send_keys("http 1.1 encode")
    copied = paste_after(opened, tools(opened, "all").find_element(By.XPATH, ".//button[text()='Copy TSV']"))
    head, row = (line.split("\t") for line in copied.splitlines())
    found = dict(zip(head, row, strict=True))
    assert {name: found[name] for name in ("Way", "Size", "Segment", "n", "p50", "median", "slowest")} == {
        "Way": "HTTP",
        "Size": "1.1MB",
        "Segment": "encode",
        "n": "25",
        "p50": "142.00",
        "median": "h1100000n012",
        "slowest": "h1100000n024",
    }


def test_no_name_is_copied_to_a_spreadsheet_as_a_formula(chromium, tmp_path):
    show(chromium, page(contents_of([image("a", drawing=HTTP.replace("role=transformer", "role==1+1"))])), tmp_path)
    copied = paste_after(chromium, tools(chromium, "all").find_element(By.XPATH, ".//button[text()='Copy TSV']"))
    names_ = [line.split("\t")[2] for line in copied.splitlines()]
    assert (names_[:3], {name[:5] for name in names_ if "1+1" in name}) == (["Segment", "client", "encode"], {"'=1+1"})


def test_a_table_of_2020_is_copied_as_markdown(opened):
    button = opened.find_element(By.CSS_SELECTOR, "[aria-label='Copy Markdown: HTTP: seconds']")
    assert paste_after(opened, button).splitlines() == [
        "| Size | 2-1 | 3-2 | 4-3 | total (4-1) |",
        "|:--|--:|--:|--:|--:|",
        "| 1.1MB | 0.284 | 0.284 | 0.852 | 1.420 |",
        "| 3.3MB | 0.372 | 0.372 | 1.116 | 1.860 |",
        "| 10.2MB | 0.648 | 0.648 | 1.944 | 3.240 |",
    ]


# --- charts by keyboard and pointer ---


def test_the_arrow_keys_go_through_a_charts_marks_and_escape_leaves_them(opened):
    chart, tip = opened.find_element(By.CSS_SELECTOR, "svg.chart"), opened.find_element(By.ID, "tip")
    chart.send_keys(Keys.ARROW_RIGHT)
    assert tip.text.startswith("client \u00b7 HTTP, 1.1MB: mean ")
    chart.send_keys(Keys.ARROW_RIGHT)
    assert tip.text.startswith("encode \u00b7 HTTP, 1.1MB: mean 142 ms, p50 142 ms")
    chart.send_keys(Keys.ESCAPE)
    assert not tip.is_displayed()


def test_a_tip_stays_with_its_mark_when_the_page_is_scrolled(opened):
    chart, tip = opened.find_element(By.CSS_SELECTOR, "svg.chart"), opened.find_element(By.ID, "tip")
    chart.send_keys(Keys.ARROW_RIGHT)
    distance = (
        "scrollBy(0, arguments[0]); const done = arguments[1];"
        "requestAnimationFrame(() => requestAnimationFrame(() => done("
        "document.querySelector('.mark.at').getBoundingClientRect().top"
        " - document.getElementById('tip').getBoundingClientRect().top)))"
    )
    assert opened.execute_async_script(distance, 0) == pytest.approx(opened.execute_async_script(distance, 40), abs=1)
    assert tip.is_displayed()


def test_a_mark_that_is_pointed_at_tells_its_figures(opened):
    from selenium.webdriver import ActionChains

    mark = opened.find_element(
        By.CSS_SELECTOR, "svg.chart rect.mark[aria-label^='transformer preprocess \u00b7 Kafka, 10.2MB']"
    )
    ActionChains(opened).move_to_element(mark).perform()
    tip = opened.find_element(By.ID, "tip")
    wait_until("the tip is there", tip.is_displayed)
    assert re.fullmatch(
        r"transformer preprocess \u00b7 Kafka, 10\.2MB: mean [\d.]+ ms, p50 [\d.]+ ms, p95 [\d.]+ ms, n 25, .*",
        tip.text,
    )


def test_another_distribution_is_chosen_by_keyboard(opened):
    first, second = opened.find_elements(By.CSS_SELECTOR, "[name=spread]")[:2]
    shown = [
        chosen.is_displayed() for chosen in opened.find_elements(By.CSS_SELECTOR, "[name=spread] + label + .chosen")
    ]
    assert shown == [True] + [False] * (len(shown) - 1)
    first.send_keys(Keys.ARROW_RIGHT)
    assert second.is_selected()
    shown = [
        chosen.is_displayed() for chosen in opened.find_elements(By.CSS_SELECTOR, "[name=spread] + label + .chosen")
    ]
    assert shown[:2] == [False, True]


# --- without a script, dark, narrow, on paper ---


def test_without_javascript_all_is_there_to_read(chromium, text, tmp_path):
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    show(chromium, text, tmp_path)
    assert chromium.find_element(By.CSS_SELECTOR, "svg.chart rect").is_displayed()
    assert len(chromium.find_elements(By.CSS_SELECTOR, "#all tbody tr")) == 123
    assert chromium.find_elements(By.TAG_NAME, "button") == []
    # Choosing needs no script either.
    chromium.find_elements(By.CSS_SELECTOR, "[name=waterfall] + label")[3].click()
    shown = [
        chosen.is_displayed()
        for chosen in chromium.find_elements(By.CSS_SELECTOR, "[name=waterfall] + label + .chosen")
    ]
    assert shown == [False, False, False, True, False, False]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read_in_either_scheme(opened, scheme):
    """WCAG 2's 4.5 : 1, of what the browser computed; text on bars has a test of its own."""
    opened.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    script = """
        const parse = (text) => text.match(/[\\d.]+/g).map(Number);
        const linear = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
        const behind = (element) => {
          for (; element; element = element.parentElement) {
            const color = parse(getComputedStyle(element).backgroundColor);
            if (color[3] !== 0) return color;
          }
        };
        const found = [];
        for (const element of document.querySelectorAll("body *")) {
          const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
          const hidden = !element.getClientRects().length || element.closest("script, style, #tip, .skip");
          if (!own || hidden || /\\bon\\d/.test(element.getAttribute("class"))) continue;
          const style = getComputedStyle(element);
          const text = luminance(parse(element instanceof SVGElement ? style.fill : style.color));
          const page = luminance(behind(element));
          const ratio = (Math.max(text, page) + 0.05) / (Math.min(text, page) + 0.05);
          if (ratio < 4.5) found.push(`${element.tagName} ${element.textContent}: ${ratio.toFixed(2)}`);
        }
        return [getComputedStyle(document.body).backgroundColor, found];
    """
    background = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}[scheme]
    assert opened.execute_script(script) == [background, []]


# What stands out of the window, but for what scrolls within itself.
BEYOND = """
    const inside = (element) => {
      for (let one = element.parentElement; one; one = one.parentElement) {
        if (getComputedStyle(one).overflowX !== "visible") return true;
      }
    };
    return [...document.querySelectorAll("body *")].filter((element) => {
      const box = element.getBoundingClientRect();
      const beyond = box.width && (box.left < -0.5 || box.right > innerWidth + 0.5);
      return beyond && !element.closest("#tip, .skip") && !inside(element);
    }).map((element) => `${element.tagName} ${element.textContent.slice(0, 40)}`);
"""


def resize(chromium, width, height=800):
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_window(chromium, text, hostile_text, comparison_text, tmp_path, width):
    resize(chromium, width)
    for shown in (text, comparison_text, *([hostile_text] if width in {320, 768} else [])):
        show(chromium, shown, tmp_path)
        assert chromium.execute_script("return document.documentElement.scrollWidth") == width
        assert chromium.execute_script(BEYOND) == []


def test_a_phone_shows_the_answer_first_then_bars_of_its_width_and_each_series_as_a_card(chromium, text, tmp_path):
    resize(chromium, 390, 844)
    show(chromium, text, tmp_path)
    answer = chromium.find_element(By.CLASS_NAME, "answer")
    assert answer.text.startswith("An image takes ")
    assert answer.rect["y"] + answer.rect["height"] < 844
    bars = chromium.find_element(By.CSS_SELECTOR, ".bars .narrow svg.chart")
    assert (bars.is_displayed(), bars.rect["width"]) == (True, 358)
    assert not chromium.find_element(By.CSS_SELECTOR, ".bars .wide").is_displayed()
    first, *_ = chromium.find_elements(By.CSS_SELECTOR, "#glance tbody tr")
    assert first.text.splitlines()[:2] == ["HTTP 1.1MB", "predictor predict 26%"]
    assert first.text.splitlines()[-1] == "1420.0 2500.0 2620.0 25"
    # A table that is wider says so.
    hints = [hint for hint in chromium.find_elements(By.CLASS_NAME, "hint") if hint.is_displayed()]
    assert {hint.text for hint in hints} == {"Scroll the table sideways for more columns \u2192"}


# --- legend and navigation ---


def lit(chromium):
    """Each segment that stands out, and in how many charts that are shown."""
    script = (
        "const lit = [...document.querySelectorAll('svg.chart [data-segment].lit')];"
        "const names = [...new Set(lit.map((one) => one.dataset.segment))];"
        "return [names, new Set(lit.map((one) => one.closest('svg'))).size,"
        " document.body.classList.contains('highlighting')]"
    )
    return chromium.execute_script(script)


def test_a_segment_of_the_legend_stands_out_in_all_charts_by_pointer_and_by_keyboard(opened):
    from selenium.webdriver import ActionChains

    key = opened.find_element(By.CSS_SELECTOR, ".key[data-segment='transformer preprocess']")
    ActionChains(opened).move_to_element(key).perform()
    # The bars, the costs' chart of that segment, and six waterfalls; most of them also for a phone.
    assert lit(opened) == [["transformer preprocess"], 2 + 1 + 2 * 6, True]
    ActionChains(opened).move_to_element(opened.find_element(By.CLASS_NAME, "answer")).perform()
    assert lit(opened) == [[], 0, False]
    other = opened.find_element(By.CSS_SELECTOR, ".key[data-segment='encode']")
    other.send_keys(Keys.ENTER)
    assert (lit(opened)[0], other.get_attribute("aria-pressed")) == (["encode"], "true")
    opened.execute_script("document.activeElement.blur()")
    assert lit(opened)[0] == ["encode"]
    other.send_keys(Keys.ESCAPE)
    opened.execute_script("document.activeElement.blur()")
    assert lit(opened) == [[], 0, False]


def current(chromium):
    return chromium.execute_script(
        "return [...document.querySelectorAll('nav [aria-current]')].map((one) => one.textContent)"
    )


def test_the_navigation_stays_and_marks_where_one_is(opened):
    bar = opened.find_element(By.TAG_NAME, "nav")
    for name in ("Spread", "Figures", "Segments"):
        bar.find_element(By.LINK_TEXT, name).click()
        wait_until(f"{name} is marked", lambda wanted=name: current(opened) == [wanted])
        assert opened.execute_script("return document.querySelector('nav').getBoundingClientRect().top >= 0")
        hidden = "return document.querySelector(':target').getBoundingClientRect().top < arguments[0]"
        assert not opened.execute_script(hidden, bar.rect["height"])


# --- a comparison ---


@pytest.fixture(scope="module")
def comparison_text():
    """The page of a comparison one of whose sides has a hostile label."""
    return comparison_page(*compared(HOSTILE["the end of an attribute"]), ORIGIN)


def test_a_comparison_asks_nobody_and_says_first_what_it_found(chromium, comparison_text, tmp_path):
    show(chromium, comparison_text, tmp_path)
    assert (requests(chromium), complaints(chromium)) == ([(tmp_path / "report.html").as_uri()], [])
    assert chromium.execute_script("return window.ran") is None
    first = chromium.find_element(By.CLASS_NAME, "answer").text
    assert re.match(
        r"1\.1MB: B \(HTTP, .*\) is [\d.]+ ms \(28%\) slower than A \(HTTP\) \([\d.]+ to [\d.]+, n = 12", first
    )
    assert chromium.find_element(By.CLASS_NAME, "more").text.startswith("B is slower in 2 of 2 comparisons.")
    marks = column(chromium, "all", "beyond noise")
    assert (len(marks), set(marks)) == (2 * 19, {"slower"})


def test_what_can_be_scrolled_can_be_scrolled_by_keyboard(opened):
    regions = opened.find_elements(By.CLASS_NAME, "scroll")
    found = {(one.get_attribute("tabindex"), one.get_attribute("role")) for one in regions}
    assert (found, all(one.get_attribute("aria-label") for one in regions)) == ({("0", "region")}, True)


def test_it_prints_on_paper_with_every_waterfall_and_nothing_cut(opened):
    resize(opened, 711)  # A4 without its margins
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = [
        chosen.is_displayed() for chosen in opened.find_elements(By.CSS_SELECTOR, "[name=waterfall] + label + .chosen")
    ]
    assert shown == [True] * 6
    assert not opened.find_element(By.CLASS_NAME, "tools").is_displayed()
    pdf = base64.b64decode(opened.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
    assert pdf.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b", pdf)) <= 8  # two ways, three sizes
    assert opened.execute_script(BEYOND) == []
    assert opened.find_element(By.CLASS_NAME, "facts").is_displayed()
    assert opened.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_a_trace_is_a_link_that_can_be_followed(chromium, tmp_path):
    found = page(contents_of([image("a")], link=lambda one: f"https://jaeger.example/trace/{one}"))
    show(chromium, found, tmp_path)
    assert chromium.find_element(By.CSS_SELECTOR, "#all a").get_attribute("href") == "https://jaeger.example/trace/a"


def test_a_figure_below_zero_is_copied_as_a_spreadsheet_reads_it(chromium, tmp_path):
    images = [image(f"a{n}", size=n * 1_000_000, factor=n - 0.5) for n in (1, 2, 3)]
    show(chromium, page(contents_of(images)), tmp_path)
    assert column(chromium, "costs", "Fixed, ms")[0] == "\u2212500.00"
    copied = paste_after(chromium, tools(chromium, "costs").find_element(By.XPATH, ".//button[text()='Copy TSV']"))
    assert copied.splitlines()[1].split("\t")[:3] == ["HTTP", "total (4-1)", "-500.00"]
