"""Site in Chromium: layout on phone and desktop, slider, search, contrast, console errors."""

import pytest

PHONE, TABLET, DESK = 390, 820, 1440


@pytest.fixture(scope="module")
def address(serve):
    return serve()


@pytest.fixture
def open_page(browser, address):
    """Function that opens a page at a width and records console messages, failures and external requests."""
    contexts = []

    def open_(path="", width=DESK, **options):
        contexts.append(browser.new_context(viewport={"width": width, "height": 844}, **options))
        page = contexts[-1].new_page()
        page.problems = []
        page.on("console", lambda message: message.type in ("error", "warning") and page.problems.append(message.text))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("request", lambda request: is_local(request.url) or page.problems.append(request.url))
        page.on("response", lambda reply: reply.status >= 400 and page.problems.append(f"{reply.status} {reply.url}"))
        page.goto(address + path)
        return page

    def is_local(url):
        return url.startswith(("data:", address))

    yield open_
    for context in contexts:
        context.close()


LAYOUTS = ["", "concepts/exchange", "cli", "api/models", "results", "weights", "gallery"]  # one page of each layout


@pytest.mark.parametrize("pages", [LAYOUTS, pytest.param(None, marks=pytest.mark.slow)], ids=["layouts", "all"])
def test_pages_fit_width_without_console_errors(site, open_page, address, pages):
    pages = pages or [str(path.parent.relative_to(site)).strip(".") for path in site.rglob("index.html")]
    too_wide, page = [], open_page()
    for width in (PHONE, TABLET, DESK):
        page.set_viewport_size({"width": width, "height": 844})
        for path in pages:
            page.goto(f"{address}{path}/" if path else address, wait_until="load")
            content = page.evaluate("document.documentElement.scrollWidth")
            if content > width:
                too_wide.append(f"{path or 'home'} at {width}: {content}")
    assert too_wide == []
    assert page.problems == []


@pytest.mark.parametrize("path", ["performance/", "results/", "export/"])
def test_tables_of_results_fit_their_page(open_page, path):
    page = open_page(path)
    tables = page.locator(".md-typeset__scrollwrap:not(details *)")
    for width in (400, 900, 1400):
        page.set_viewport_size({"width": width, "height": 844})
        sizes = tables.evaluate_all("tables => tables.map(table => [table.scrollWidth, table.clientWidth])")
        assert sizes
        assert all(content <= visible + 1 for content, visible in sizes), width


@pytest.mark.parametrize("width", [400, 900, 1400])
def test_zoo_cells_fit_page(open_page, width):
    page = open_page("weights/", width=width)
    table = page.locator("table.sortable")
    right = table.evaluate("table => table.getBoundingClientRect().right")
    assert right <= width
    cells = table.locator("td:visible")
    sizes = cells.evaluate_all("cells => cells.map(cell => [cell.scrollWidth, cell.clientWidth])")
    assert sizes
    assert all(content <= visible + 1 for content, visible in sizes)


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_zoo_sorts_by_each_column(open_page, width):
    page = open_page("weights/", width=width)
    headers, rows = page.locator(".sortable th"), page.locator(".sortable tbody tr")
    for column, header in enumerate(headers.all()):
        for direction in ("ascending", "descending"):
            header.get_by_role("button").press("Enter")
            assert header.get_attribute("aria-sort") == direction
            assert page.locator(".sortable [aria-sort]").count() == 1
            cells = rows.evaluate_all("(rows, column) => rows.map(row => row.cells[column].dataset.value)", column)
            values = [_sort_key(cell) for cell in cells if cell]
            assert values == sorted(values, reverse=direction == "descending")
            assert all(cells[: len(values)])  # empty cells are last
    assert page.problems == []


def _sort_key(cell):
    try:
        return float(cell)
    except ValueError:
        return cell


def test_zoo_without_scripts_shows_table(open_page):
    page = open_page("weights/", java_script_enabled=False)
    assert page.locator(".sortable tbody tr").first.is_visible()
    assert page.locator(".sortable button").count() == 0


@pytest.mark.parametrize("width", [400, 900, 1400])
def test_gallery_shows_pictures_of_equal_size_in_two_columns(open_page, width):
    page = open_page("gallery/", width=width)
    for panels in page.locator(".panels").all():
        panels.scroll_into_view_if_needed()  # pictures are loaded when visible
        boxes = [image.bounding_box() for image in panels.locator("img").all()]
        assert len({(round(box["width"]), round(box["height"])) for box in boxes}) == 1
        assert boxes[0]["y"] == boxes[1]["y"]
        assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
        assert boxes[1]["x"] + boxes[1]["width"] <= width
    assert page.problems == []


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_slider_responds_to_keyboard_and_touch(open_page, width):
    page = open_page(width=width, has_touch=True)
    slider, control = page.locator(".slider"), page.get_by_role("slider")
    assert slider.bounding_box()["y"] < 844 - slider.bounding_box()["height"] / 2
    control.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert control.input_value() == "1"
    assert control.get_attribute("aria-valuetext") == "1% bicubic"
    box = slider.bounding_box()
    page.touchscreen.tap(box["x"] + 0.75 * box["width"], box["y"] + box["height"] / 2)
    assert 73 <= int(control.input_value()) <= 77
    assert slider.evaluate("s => s.style.getPropertyValue('--at')") == f"{control.input_value()}%"


def test_slider_without_scripts_shows_both_images(open_page):
    page = open_page(java_script_enabled=False)
    before, after = (picture.bounding_box() for picture in page.locator(".slider img").all())
    assert before["x"] + before["width"] <= after["x"]
    assert before["y"] == after["y"]


def test_search_finds_layer(open_page):
    page = open_page("?q=FocalSeparableAttention")  # the page may ignore keys until its scripts are loaded
    query, links = page.locator("[data-md-component=search-query]"), page.locator(".md-search-result__link")
    links.first.wait_for(timeout=120_000)  # for busy machines
    assert links.count() >= 3
    query.fill("")
    query.press_sequentially("nosuchlayername")  # the search reacts to key events
    links.first.wait_for(state="detached", timeout=120_000)
    assert page.problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_drawings_have_contrast(open_page, scheme):
    page = open_page("concepts/exchange/", color_scheme=scheme)
    colors = page.evaluate(
        """() => [document.body, document.querySelector('.md-content p'), document.querySelector('.drawing text')]
        .map((element, i) => getComputedStyle(element)[['backgroundColor', 'color', 'fill'][i]])"""
    )
    background, text, drawing = (_luminance(page, color) for color in colors)
    for ink in (text, drawing):
        lighter, darker = max(ink, background), min(ink, background)
        assert (lighter + 0.05) / (darker + 0.05) > 4.5  # WCAG AA
    assert (background > 0.5) == (scheme == "light")


def test_chart_text_on_phone_is_legible_and_within_chart(open_page):
    chart = open_page("performance/", width=PHONE).locator("figure .drawing")
    frame, texts = chart.bounding_box(), [text.bounding_box() for text in chart.locator("text").all()]
    assert len(texts) == 2 + 8 * 2
    assert min(text["height"] for text in texts) > 11
    assert min(text["x"] for text in texts) >= frame["x"] - 1
    assert max(text["x"] + text["width"] for text in texts) <= frame["x"] + frame["width"] + 1


def _luminance(page, color):
    # The browser parses and blends the color.
    pixel = page.evaluate(
        """color => { const c = document.createElement('canvas').getContext('2d');
        for (const fill of [getComputedStyle(document.body).backgroundColor, color])
            { c.fillStyle = fill; c.fillRect(0, 0, 1, 1); }
        return [...c.getImageData(0, 0, 1, 1).data]; }""",
        color,
    )
    linear = [v / 255 / 12.92 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in pixel[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
