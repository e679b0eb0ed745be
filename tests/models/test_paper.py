"""Reproduction of the paper's tables and figures."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from lamnet_layers import FocalSeparableAttention
from lamnet_models import LAMNet, ModelError, TrainingError, create_model, save_checkpoint
from lamnet_models.benchmarking import PEERS
from lamnet_models.cost import Complexity
from lamnet_models.evaluation import evaluate
from lamnet_models.evaluation.results import published_table3, published_table4
from lamnet_models.paper import ITEMS, Score, Table, figures, item_options, reproduce, tables
from lamnet_models.paper.ablations import Budget
from lamnet_models.paper.kernels import dynamic_kernels, rank, sparsity
from lamnet_models.paper.reproduction import compare_with_printed
from lamnet_models.paper.tables import CHANNELS, GROUPS, MACS, PARAMS, VARIANTS, K, count_modules

SMALL = {"model_args": {"embed_dim": 16, "num_blocks": 1, "depth": 1}, "batch": 1, "patch": 8}


@pytest.fixture
def fast_costs(monkeypatch):
    """Count only parameters; operations take a second per network."""

    def complexity(model):
        return Complexity(sum(p.numel() for p in model.parameters()), 10**9, 10**9, None, (1, 1))

    monkeypatch.setattr(tables, "complexity", complexity)


def column(result, name, table=0):
    shown = result.tables[table]
    return [row[shown.columns.index(name)] for row in shown.rows]


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_checkpoint(LAMNet(scale=2, embed_dim=16, num_blocks=1, depth=3, num_heads=2), path)
    return path


@pytest.mark.parametrize(
    ("value", "printed", "word"),
    [
        (828_364, "828K", "equal"),
        (760_876, "760K", "equal if truncated"),
        (83_109_000_000, "83.11G", "equal"),
        (47_449_000_000, "47.5G", "differs by −0.1%"),
        (2_000, "1K", "differs by +100.0%"),
        (900, "1K", "equal"),
        (5, None, "not printed"),
    ],
)
def test_compare_with_printed(value, printed, word):
    assert compare_with_printed(value, printed) == word


def test_published_tables_are_complete():
    assert len(published_table3()) == 39
    assert [row.model for row in published_table4()] == list(VARIANTS)
    scores = [score for row in published_table3() for score in row.scores.values()]
    assert len(scores) == 39 * 5 - 3
    assert all(20 < psnr < 40 and 0.7 < ssim < 1 for psnr, ssim in scores)


def test_count_modules_terms_explain_difference():
    counted = count_modules()
    assert {module.method for module in counted} == {"SwinIR", "DLGSANet", "LAMNet"}
    for module in counted:
        k = module.k or K
        for formulas, value, terms in (
            (PARAMS, module.params, module.params_terms),
            (MACS, module.macs, module.macs_terms),
        ):
            formula = formulas[module.method][module.part == "feed-forward"].value(CHANNELS, k, GROUPS)
            assert value == pytest.approx(formula + sum(terms.values()), abs=1e-6)


def test_tables_1_and_2():
    params, macs = ITEMS["table1"](), ITEMS["table2"]()
    both = [index for index, part in enumerate(column(params, "part")) if part == "both"]
    assert [column(params, "G = 4")[i] for i in both] == ["36.9K", "33.9K", "30.3K"]
    assert [column(macs, "G = 4")[i] for i in both] == ["37.9G", "35.2G", "28.6G"]
    assert [column(params, "paper")[i] for i in both] == ["37K", "34K", "30K"]
    assert column(params, "comparison")[both[1]].endswith("equal with G = 4")
    assert "differs by +59.8% with G = 4" in column(macs, "comparison")[both[1]]


def test_table_3_without_datasets(tmp_path):
    result = ITEMS["table3"](scales=[3], data=tmp_path)
    models = column(result, "model")
    ours = models.index("LAMNet-large")
    assert column(result, "parameters")[ours] == 1_032_683
    assert column(result, "comparison")[ours] == "equal"
    assert column(result, "parameters")[models.index("SwinIR-light")] == 918_267
    assert column(result, "comparison")[models.index("IMDN")] == "paper's values only"
    assert column(result, "Set5", 1)[ours] == Score(None, (34.75, 0.9299))
    assert str(column(result, "Manga109", 1)[models.index("LatticeNet")]) == "–"
    assert any("Urban100 not found" in note for note in result.tables[1].notes)


def test_table_3_evaluates_datasets_and_peers(build_dataset, tmp_path, fast_costs):
    root = build_dataset(count=2)
    torch.manual_seed(0)
    torch.save(PEERS["swinir_light"](2).state_dict(), tmp_path / "swinir.pth")
    result = ITEMS["table3"](scales=[2], data=root, weights=[("swinir_light", tmp_path / "swinir.pth")])
    scores = dict(zip(column(result, "model", 1), column(result, "Set5", 1), strict=True))
    expected = evaluate("lamnet_x2", "set5", data_dir=root)
    assert scores["LAMNet"].ours == (expected.psnr, expected.ssim)
    assert scores["LAMNet"].paper == (38.22, 0.9613)
    assert scores["SwinIR-light"].ours is not None
    assert scores["Omni-SR"].ours is None
    costs = dict(zip(column(result, "model"), column(result, "parameters"), strict=True))
    assert (costs["SwinIR-light"], costs["HiT-SNG"]) == (910_152, None)
    assert column(result, "measured with", 1)[-4] == "swinir.pth"
    assert "Set5: measured on 2 images only." in result.tables[1].notes
    with pytest.raises(ModelError, match=r"weights .*edsr_baseline, imdn.*'edsr'"):
        ITEMS["table3"](weights=[("edsr", tmp_path / "swinir.pth")])


def test_table_3_weights_of_another_scale(small_model):
    with pytest.raises(ModelError, match=r"lamnet_x4 .*×4, got ×2"):
        ITEMS["table3"](weights=[("lamnet_x4", small_model)])


@pytest.mark.slow
def test_table_4_costs():
    result = ITEMS["table4"]()
    comparison = dict(zip(column(result, "variant"), column(result, "comparison"), strict=True))
    assert comparison.keys() == VARIANTS.keys()
    assert {name for name, word in comparison.items() if word != "equal"} == {"FSA → MHDLSA", "DGFN → GDFN"}
    assert column(result, "parameters") == [
        828364, 822220, 813004, 837724, 827980, 802636, 828364, 760876, 797644
    ]  # fmt: skip
    assert str(column(result, "Urban100")[0]) == "(33.03/0.9359)"
    with pytest.raises(ValueError, match=r"^variants .*full, window 19.*'all'"):
        ITEMS["table4"](variants=["all"])


def test_table_4_trains_variants(tmp_path, fast_costs):
    options = {"variants": ["full", "FSA → MHDLSA", "DGFN → GDFN"], "folder": tmp_path, "limit": 1, **SMALL}
    result = ITEMS["table4"](train="2", **options)
    assert column(result, "steps") == [2, 2, 2]
    assert len(set(column(result, "PSNR on sample"))) == 3
    assert column(result, "to the full model")[0] == "+0.000"
    assert {path.name for path in tmp_path.iterdir()} == {"full", "fsa-mhdlsa", "dgfn-gdfn"}
    again = ITEMS["table4"](train="2", **options)
    assert again == result
    with pytest.raises(TrainingError, match="another recipe or budget"):
        ITEMS["table4"](train="3", **options)


@pytest.mark.parametrize(
    ("text", "steps", "minutes"), [("500", 500, None), ("90s", None, 1.5), ("10m", None, 10), ("0.5h", None, 30)]
)
def test_budget_parse(text, steps, minutes):
    assert Budget.parse(text) == Budget(steps, minutes)


@pytest.mark.parametrize("text", ["", "0", "1.5", "soon", "-3", "5d", "0m"])
def test_budget_parse_invalid(text):
    with pytest.raises(ValueError, match=f"^train .*{text!r}"):
        Budget.parse(text)


def test_figure_5(build_dataset, small_model, tmp_path):
    root = build_dataset("folder", name="photos")
    result = reproduce("figure5", tmp_path, models=[small_model], dataset=str(root / "photos"), details=1)
    assert column(result, "method") == ["bicubic", f"{small_model.parent.name}/small.safetensors"]
    with Image.open(tmp_path / "figure5.png") as picture:
        assert picture.width > 4 * 200
    assert "data:image/png;base64," in (tmp_path / "figure5.svg").read_text(encoding="utf-8")


def test_figure_6_without_datasets(tmp_path):
    result = ITEMS["figure6"](scale=2, size=(16, 12), rounds=1, data=tmp_path)
    names = column(result, "network")
    assert set(names) == {"lamnet_x2", "lamnet_large_x2", "swinir_light", "omni_sr"}
    assert column(result, "ratio to LAMNet's")[names.index("lamnet_x2")] == "1.00"
    assert column(result, "paper's")[names.index("swinir_light")] == "38.14"
    assert column(result, "PSNR on Set5") == [None] * 4
    result.draw(tmp_path / "figure6.svg")
    with pytest.raises(ValueError, match="set5 at ×5"):
        ITEMS["figure6"](scale=5)


def test_figure_7_from_logs(tmp_path):
    log = tmp_path / "run" / "log.jsonl"
    log.parent.mkdir()
    lines = [{"kind": "validation", "step": n, "psnr": 30 + n / 10, "dataset": "sample"} for n in (10, 20)]
    log.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"kind": "report", "step": 20, "loss": 0.1}]))
    result = ITEMS["figure7"](runs=[tmp_path / "run"])
    assert result.tables[0].rows == (("run", 20, "32.00", "32.00", "sample"),)
    result.draw(tmp_path / "figure7.svg")
    with pytest.raises(TrainingError, match=r"run .*log\.jsonl"):
        ITEMS["figure7"](runs=[tmp_path])


def test_figure_7_builds_small_variants(monkeypatch):
    def build(variants, *_, model_args, **__):
        for arguments in variants.values():
            create_model("lamnet_x2", device="meta", **{**model_args, **arguments})
        return {}

    monkeypatch.setattr(figures, "train_variants", build)
    result = ITEMS["figure7"]()
    assert result.tables[0].rows == ()
    assert "32 channels" in result.notes[0]


def test_figure_8(tmp_path):
    result = ITEMS["figure8"](sides=(3, 5), size=(8, 6), rounds=1)
    assert column(result, "side") == [3, 5] * 3
    result.draw(tmp_path / "figure8.png")
    with pytest.raises(ValueError, match="side"):
        ITEMS["figure8"](sides=(4,), rounds=1)


@pytest.mark.parametrize(("row", "col"), [(9, 8), (0, 0), (17, 3), (2, 15)])
def test_dynamic_kernels_match_attention(row, col):
    torch.manual_seed(0)
    attention = FocalSeparableAttention(6, num_heads=2, window=((1, 2), (2, 1)), dtype=torch.float64)
    x = torch.randn(1, 6, 18, 20, dtype=torch.float64)
    product, exact = dynamic_kernels(attention, x, row, col)
    window = torch.nn.functional.pad(x, (4, 4, 4, 4))[0, :, row : row + 9, col : col + 9].unflatten(0, (2, 3))
    result = torch.einsum("gcyx,gyx->gc", window, exact).flatten()
    torch.testing.assert_close(result, attention(x)[0, :, row, col])
    assert [rank(kernel.numpy()) for kernel in product] == [1, 1]
    assert max(rank(kernel.numpy()) for kernel in exact) > 1
    torch.testing.assert_close(exact[:, 4], product[:, 4] * (exact[:, 4] != 0))  # the row of the pixel


def test_sparsity_and_rank():
    assert sparsity(np.ones((3, 3))) == pytest.approx(0)
    assert sparsity(np.eye(1, 9)) == pytest.approx(1)
    assert sparsity(np.zeros((2, 2))) == 0
    assert rank(np.zeros((2, 2))) == 0


def test_figures_9_and_10(small_model, tmp_path):
    kernels = reproduce("figure9", tmp_path, model=small_model, layers=[2], groups=[2], pixels=[(3, 90), (40, 40)])
    assert [row[:3] for row in kernels.tables[0].rows] == [("3,90", 2, 2), ("40,40", 2, 2)]
    assert column(kernels, "rank, product") == [1, 1]
    gates = reproduce("figure10", tmp_path, model=small_model)
    assert column(gates, "layer") == [1, 1, 2, 2, 3, 3]
    below = column(gates, "below 0")
    assert max(below[::2]) < 1e-3
    assert min(below[1::2]) > 0.1
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {f"figure{n}.{suffix}" for n in (9, 10) for suffix in ("md", "json", "png", "svg")}
    for options, message in (
        ({"layers": [4]}, "^layers .*1 to 3, got 4"),
        ({"groups": [3]}, "^groups .*1 to 2, got 3"),
        ({"pixels": [(96, 0)]}, "^pixels .*96×96, got 96,0"),
    ):
        with pytest.raises(ValueError, match=message):
            ITEMS["figure9"](model=small_model, **options)


def test_figures_9_and_10_unsupported_models():
    other = LAMNet(2, embed_dim=16, num_blocks=1, depth=1, attn_layer="mhdlsa", mlp_layer="ffn")
    with pytest.raises(ModelError, match="focal separable attention"):
        ITEMS["figure9"](model=other)
    with pytest.raises(ModelError, match="DGFN"):
        ITEMS["figure10"](model=other)
    with pytest.raises(ModelError, match="model must be a LAMNet"):
        ITEMS["figure10"](model=torch.nn.Conv2d(3, 3, 1))


def test_table_markdown_and_json():
    rows = (("a|b", 1234, Score((30.0, 0.9), (31.0, 0.95))), (None, None, Score(None, None)))
    table = Table("T", ("name", "count", "score"), rows, ("A note.",))
    assert table.markdown().splitlines()[2:6] == [
        "| name | count | score |",
        "| --- | ---: | --- |",
        "| a\\|b | 1,234 | 30.00/0.9000 (31.00/0.9500) |",
        "| – | – | – |",
    ]
    assert table.to_dict()["rows"][0] == {
        "name": "a|b",
        "count": 1234,
        "score": {"ours": [30.0, 0.9], "paper": [31.0, 0.95]},
    }


def test_reproduce_unknown_item():
    with pytest.raises(ValueError, match=r"^item .*'figure99'.* did you mean figure9"):
        reproduce("figure99")
    assert item_options("table1") == ()
    assert "train" in item_options("table4")
