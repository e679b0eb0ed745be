"""Built site: links, resources, navigation and coverage of the API reference."""

import re
from collections import Counter
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit

import pytest

SITE = "http://site/"


class _Page(HTMLParser):
    """Links, resources, anchors and documented Python names of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.resources, self.ids, self.documented, self.images_without_alt = [], [], set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attrs = dict(attributes)
        self.ids |= {attrs[key] for key in ("id", "name") if attrs.get(key)}
        if tag == "a" and "href" in attrs:
            self.links.append(attrs["href"])
        elif tag == "link" and attrs.get("rel") not in ("canonical", "next", "prev"):
            self.resources.append(attrs["href"])
        elif attrs.get("src"):
            self.resources.append(attrs["src"])
        if tag == "img" and not attrs.get("alt"):
            self.images_without_alt.append(attrs.get("src"))
        if tag in ("h2", "h3", "h4") and "doc-heading" in (attrs.get("class") or "").split():
            self.documented.append(attrs["id"])


@pytest.fixture(scope="session")
def pages(site):
    """Parsed pages by address, with ``SITE`` in place of the folder."""
    files = (path for path in site.rglob("*.html") if path.name != "404.html")
    addresses = {
        SITE + str(path.relative_to(site)).removesuffix("index.html"): path.read_text(encoding="utf-8")
        for path in files
    }
    return {address: _Page(text) for address, text in addresses.items()}


def test_links_and_anchors_resolve(site, pages):
    broken = []
    for address, page in pages.items():
        for link in page.links + page.resources:
            target = urlsplit(urljoin(address, link))
            if target.netloc != "site":
                continue
            destination = SITE + target.path.lstrip("/")
            anchor = unquote(target.fragment)
            if destination in pages:
                if anchor and anchor not in pages[destination].ids:
                    broken.append(f"{address}: {link}")
            elif not (site / unquote(target.path.lstrip("/"))).is_file():
                broken.append(f"{address}: {link}")
    assert len(pages) > 20
    assert broken == []


def test_resources_are_local(site, pages):
    for address, page in pages.items():
        assert [url for url in page.resources if urlsplit(urljoin(address, url)).netloc != "site"] == []
    for style in site.rglob("*.css"):
        urls = re.findall(r"@import[^;]+|url\(\s*[\"']?(?!data:|[\"'])[^)]+", style.read_text(encoding="utf-8"))
        assert [url for url in urls if "//" in url] == [], style


def test_images_have_alt_text(pages):
    missing = {address: page.images_without_alt for address, page in pages.items() if page.images_without_alt}
    assert missing == {}


def test_pages_are_reachable_from_home(pages):
    reached, queue = set(), [SITE]
    while queue:
        address = queue.pop()
        if address in reached or address not in pages:
            continue
        reached.add(address)
        queue += [urljoin(address, link).partition("#")[0] for link in pages[address].links]
    assert set(pages) - reached == set()


def test_public_names_are_documented_once(pages, public_names):
    documented = Counter(name for page in pages.values() for name in page.documented)
    counts = {name: sum(documented[alias] for alias in aliases) for name, aliases in public_names.items()}
    assert len(counts) > 60
    assert {name: count for name, count in counts.items() if count != 1} == {}


def test_commands_have_a_section(pages):
    from lamnet_cli.main import app

    names = [command.name for command in app.registered_commands]
    names += [
        f"{group.name}-{command.name}"
        for group in app.registered_groups
        for command in group.typer_instance.registered_commands
    ]
    assert len(names) > 10
    assert [name for name in names if f"lamnet-{name}" not in pages[f"{SITE}cli/"].ids] == []


def test_packaged_weights_have_a_card(pages):
    from lamnet_models.names import packaged_weights

    cards = {SITE + f"weights/{name}/" for name in packaged_weights()}
    assert len(cards) >= 6
    assert cards - set(pages) == set()
