"""Model zoo and gallery: the table has all packaged weights, and the pictures exist."""

import re
from html import unescape

import pytest
from PIL import Image

from lamnet_models.evaluation.predictors import Predictor
from lamnet_models.names import PackagedWeights, describe_weights, packaged_weights

FACTS = ["weights", "scale", "for", "parameters", "MACs"]


def read_html(lines):
    """Columns of the table and its rows, as cells by column."""
    html = unescape("\n".join(lines)).replace("\xa0", " ")
    columns = re.findall(r'<th scope="col">(.*?)</th>', html)
    bodies = re.findall(r"<tr>(<td.*?)</tr>", html)
    rows = [re.findall(r'<td data-label="(.*?)" data-value="(.*?)">(.*?)</td>', body) for body in bodies]
    return columns, [{label: (text, value) for label, value, text in row} for row in rows]


@pytest.fixture
def make_table(docs, monkeypatch):
    """Function that makes the table of weights with given scores, and of given measurements."""
    import zoo

    def make(scores, costs=(), measured=()):
        def describe(name):
            purpose = name.partition(".")[2].partition("_")[0]
            return PackagedWeights(name, 4, purpose, 849_136, 47 * 10**9, 1_800_000, "Apache-2.0", scores[name])

        tables = {"zoo.md": [list(costs)], "scores.md": [[dict(row) for row in measured]]}
        monkeypatch.setattr(zoo, "packaged_weights", lambda: scores)
        monkeypatch.setattr(zoo, "describe_weights", describe)
        monkeypatch.setattr(zoo, "read_tables", tables.get)
        return read_html(zoo.zoo_lines())

    return make


def test_zoo_has_packaged_weights_and_no_empty_column(docs):
    from zoo import zoo_lines

    columns, rows = read_html(zoo_lines())
    assert {row["weights"][1] for row in rows} == set(packaged_weights())
    assert len(rows) == len(packaged_weights())
    assert {*FACTS, "file", "license"} <= set(columns)
    assert [column for column in columns if not any(row[column][0] for row in rows)] == []


def test_zoo_without_measurements_omits_columns(make_table):
    columns, (row,) = make_table({"lamnet_x4.clean_v9": {}})
    assert columns == [*FACTS, "file", "license"]
    assert row["parameters"] == ("849 K", "849136")


def test_zoo_shows_stored_scores_before_measured_ones(make_table):
    scores = {"lamnet_x4.clean_v8": {}, "lamnet_x4.photo_v1": {"set5": (31.5, 0.88)}}
    measured = [
        {"": "`lamnet_x4.clean_v8` ×4", "set5": "30.00 / 0.8000", "urban100": ""},
        {"": "`lamnet_x4.photo_v1` ×4", "set5": "1.00 / 0.1000", "urban100": "25.00 / 0.7000"},
    ]
    costs = [{"model": "lamnet_x4", "s": "0.45", "MB": "200"}]
    columns, (clean, photo) = make_table(scores, costs, measured)
    assert columns == [*FACTS, "Set5", "Urban100", "time", "memory", "file", "license"]
    assert clean["Set5"] == ("30.00 / 0.8000", "30.0")
    assert clean["Urban100"] == ("", "")
    assert photo["Set5"] == ("31.50 / 0.8800", "31.5")
    assert photo["Urban100"] == ("25.00 / 0.7000", "25.0")
    assert photo["time"] == ("0.45 s", "0.45")
    assert (clean["for"][0], photo["for"][0]) == ("clean", "photo")


def test_zoo_measures_each_packaged_model_once(docs, tmp_path, monkeypatch):
    import assets
    import zoo

    from lamnet_models.benchmarking import measure

    shapes = {}

    def measure_memory(name, scale, shape, *_):
        shapes[name] = (scale, *shape)
        return 10**6

    names = ["lamnet_x2.clean_v1", "lamnet_x2.photo_v1", "lamnet_x4.clean_v1"]
    monkeypatch.setattr(zoo, "packaged_weights", lambda: names)
    monkeypatch.setattr(measure, "time_interleaved", lambda runs, rounds, _: {name: [1.0] * rounds for name in runs})
    monkeypatch.setattr(measure, "peak_memory_in_child", measure_memory)
    monkeypatch.setattr(assets, "ASSETS", tmp_path)
    zoo.main()
    (rows,) = assets.read_tables("zoo.md")
    assert [row["model"] for row in rows] == ["lamnet_x2", "lamnet_x4"]
    assert rows[0] == {"model": "lamnet_x2", "input": "640×360", "s": "1.00", "MB": "1"}
    assert shapes == {"lamnet_x2": (2, 1, 3, 360, 640), "lamnet_x4": (4, 1, 3, 180, 320)}


def test_gallery_pictures_have_size_of_result_and_alt_text(docs):
    from gallery import HEIGHT, INPUTS, SCALE, WIDTH

    kinds = sorted(path.stem for path in INPUTS.glob("*.png"))
    assert len(kinds) == 6
    page, methods = (docs / "gallery.md").read_text(encoding="utf-8"), set()
    for kind in kinds:
        assert f'"docs/assets/gallery/{kind}.md"' in page
        pictures = re.findall(r"!\[(.+)\]\((.+)\)", (docs / f"assets/gallery/{kind}.md").read_text(encoding="utf-8"))
        methods.add(tuple(file.rpartition("-")[2] for _, file in pictures))
        for alt, file in pictures:
            assert alt.startswith(kind.capitalize().replace("-", " "))
            with Image.open(docs / file) as picture:
                assert picture.size == (WIDTH * SCALE, HEIGHT * SCALE)
    (names,) = methods  # the same for all kinds
    assert names[:2] == ("bicubic.webp", "lanczos.webp")
    assert len(names) > 2


def test_gallery_has_first_weights_of_each_purpose(docs, monkeypatch):
    import gallery

    names = ["lamnet_x4.clean_v2", "lamnet_x4.clean_v3", "lamnet_x4.photo_v1"]
    facts = {name: PackagedWeights(name, 4, name[10:15], 0, 0, 0, "", {}) for name in names}
    monkeypatch.setattr(gallery, "list_models", lambda *_, **__: names)
    monkeypatch.setattr(gallery, "describe_weights", facts.get)
    monkeypatch.setattr(gallery, "open_predictor", lambda name, scale=4: Predictor(name, scale, name))
    methods = gallery.methods()
    assert list(methods) == ["bicubic", "lanczos", "clean", "photo"]
    assert methods["clean"] == ("LAMNet <code>clean_v2</code>", "lamnet_x4.clean_v2")
    assert methods["photo"] == ("LAMNet <code>photo_v1</code>", "lamnet_x4.photo_v1")
    assert methods["lanczos"] == ("lanczos", "lanczos")


def test_progress_has_packaged_weights(docs):
    import progress

    rows = {row["weights"]: row for row in progress.read_progress()}
    for name in packaged_weights():
        entry = describe_weights(name)
        if entry.purpose == "clean" and "set5" in entry.scores:
            assert float(rows[name]["set5"]) == round(entry.scores["set5"][0], 2)
    drawing = progress.progress_svg(list(rows.values()))
    assert drawing.count("<circle") == len(rows)
