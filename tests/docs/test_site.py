"""The site as it is built: whole, of one piece, and quiet."""

import re
from collections import Counter
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit

import pytest

SITE = "http://site/"


class _Page(HTMLParser):
    """What a page refers to, what in it can be referred to, and which names of Python it documents."""

    def __init__(self, text):
        super().__init__()
        self.links, self.resources, self.ids, self.documented, self.images_without_words = [], [], set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.resources.append(given["href"])
        elif given.get("src"):
            self.resources.append(given["src"])
        if tag == "img" and not given.get("alt"):
            self.images_without_words.append(given.get("src"))
        if tag in ("h2", "h3", "h4") and "doc-heading" in (given.get("class") or "").split():
            self.documented.append(given["id"])


@pytest.fixture(scope="session")
def pages(site):
    """The parsed pages by their addresses, of ``SITE`` and not of the disk."""
    files = (path for path in site.rglob("*.html") if path.name != "404.html")
    addresses = {
        SITE + str(path.relative_to(site)).removesuffix("index.html"): path.read_text(encoding="utf-8")
        for path in files
    }
    return {address: _Page(text) for address, text in addresses.items()}


def test_links_images_and_anchors_lead_somewhere(site, pages):
    broken = []
    for address, page in pages.items():
        for link in page.links + page.resources:
            target = urlsplit(urljoin(address, link))
            if target.netloc != "site":
                continue
            there = SITE + target.path.lstrip("/")
            anchor = unquote(target.fragment)
            if there in pages:
                if anchor and anchor not in pages[there].ids:
                    broken.append(f"{address}: {link}")
            elif not (site / unquote(target.path.lstrip("/"))).is_file():
                broken.append(f"{address}: {link}")
    assert len(pages) > 20
    assert broken == []


def test_nothing_is_loaded_from_other_hosts(site, pages):
    for address, page in pages.items():
        assert [found for found in page.resources if urlsplit(urljoin(address, found)).netloc != "site"] == []
    for style in site.rglob("*.css"):
        loaded = re.findall(r"@import[^;]+|url\(\s*[\"']?(?!data:|[\"'])[^)]+", style.read_text(encoding="utf-8"))
        assert [found for found in loaded if "//" in found] == [], style


def test_images_have_words_for_those_who_do_not_see_them(pages):
    assert {a: p.images_without_words for a, p in pages.items() if p.images_without_words} == {}


def test_every_page_is_in_the_navigation_or_reached_from_a_page_that_is(pages):
    reached, to_see = set(), [SITE]
    while to_see:
        address = to_see.pop()
        if address in reached or address not in pages:
            continue
        reached.add(address)
        to_see += [urljoin(address, link).partition("#")[0] for link in pages[address].links]
    assert set(pages) - reached == set()


def test_every_public_name_is_documented_exactly_once(pages, public_names):
    documented = Counter(name for page in pages.values() for name in page.documented)
    counts = {name: sum(documented[alias] for alias in aliases) for name, aliases in public_names.items()}
    assert len(counts) > 60
    assert {name: count for name, count in counts.items() if count != 1} == {}


def test_every_command_has_a_section(pages):
    from lamnet_cli.main import app

    names = [command.name for command in app.registered_commands]
    names += [
        f"{group.name}-{command.name}"
        for group in app.registered_groups
        for command in group.typer_instance.registered_commands
    ]
    assert len(names) > 10
    assert [name for name in names if f"lamnet-{name}" not in pages[f"{SITE}cli/"].ids] == []


def test_every_packaged_model_has_its_card(pages):
    from lamnet_models.pretrained import packaged_weights

    cards = {SITE + f"weights/{name}/" for name in packaged_weights()}
    assert len(cards) >= 6
    assert cards - set(pages) == set()
