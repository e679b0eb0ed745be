"""Model variants: settings, creation and differences from the published models."""

import pytest
import torch

from lamnet_models import ModelError, create_model
from lamnet_models.factory import SETTINGS, create_variant, format_settings, nearest_published, parse_settings
from lamnet_models.paper.tables import VARIANTS

META = torch.device("meta")


@pytest.mark.parametrize("name", VARIANTS)
def test_settings_of_table_4_round_trip(name):
    settings = parse_settings(format_settings(VARIANTS[name]).split())
    model = create_variant("lamnet_x2", settings, device=META)
    assert model.config == create_model("lamnet_x2", device=META, **VARIANTS[name]).config
    base, differing = nearest_published(model)
    assert base == "lamnet_x2"
    assert settings.keys() <= differing.keys()
    assert all(differing[key][0] == value for key, value in settings.items())


def test_every_setting_changes_the_model():
    values = dict(zip(SETTINGS, (3, 1, 32, 2, 1, 2, [1], [2], "mhdlsa", None, None, "ffn", 9), strict=True))
    config = create_variant("lamnet_x2", values, device=META).config
    expected = {**values, "window": [values.pop("window.strides"), values.pop("window.steps")]}
    assert config == {key: value for key, value in expected.items() if not key.startswith("window.")}


def test_partial_window_completed():
    assert create_variant("lamnet_x4", parse_settings(["window.steps=1,1,1"]), device=META).window.size == 15
    local = parse_settings(["attn_layer=mhdlsa", "window.steps=2"])
    assert create_variant("lamnet_x4", local, device=META).window.size == 5


def test_nearest_published_same_scale():
    assert nearest_published(create_model("lamnet_large_x3", device=META)) == ("lamnet_large_x3", {})
    assert nearest_published(create_model("lamnet_x4", scale=8, device=META)) == ("lamnet_x2", {"scale": (8, 2)})
    six = create_model("lamnet_x3", num_blocks=6, device=META)
    assert nearest_published(six) == ("lamnet_x3", {"num_blocks": (6, 4)})


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["embed_dim"], "KEY=VALUE.*'embed_dim'"),
        (["windw.steps=1"], r"'windw\.steps': did you mean window\.steps\?.* scale, .*, hidden_dim"),
        (["zzz=1"], "'zzz'.* scale, "),
        (["depth=2", "depth=3"], "^depth .*twice"),
        (["depth=two"], "^depth .*'two'"),
        (["window.steps=1;2"], r"^window\.steps .*'1;2'"),
        (["gate_layer=maybe"], "^gate_layer .*'maybe'"),
        (["mlp_layer=gdnf"], "^mlp_layer .*'gdnf'.*did you mean"),
        (["embed_dim=10"], "lamnet_x2: embed_dim .*got 10"),
        (["window.strides=1,2"], "strides and steps"),
        (["window.steps=1,0,1"], r"steps\[1\] .*0"),
        (["embed_dim=10000000000"], "lamnet_x2"),
    ],
)
def test_invalid_settings(texts, message):
    with pytest.raises(ModelError, match=message):
        create_variant("lamnet_x2", parse_settings(texts))
