"""Block diagrams of the network, ULM and DGFN."""

from __future__ import annotations

from .svg import box, label, node, svg, wire


def network_svg() -> str:
    """Return the diagram of the network, with one LAM block below it."""
    y, low = 46, 150
    parts = [
        label(28, y - 7, "LR"),
        wire((6, y), (52, y)),
        box(92, y, 76, 44, "Conv 3×3\n3 → 64"),
        wire((130, y), (172, y)),
        box(226, y, 104, 44, "LAM blocks\n4, large: 5", "blue"),
        wire((278, y), (312, y)),
        box(352, y, 76, 44, "Conv 3×3"),
        wire((390, y), (425, y)),
        label(407, y - 7, "·α"),
        node(437, y, "+"),
        wire((150, y), (150, y + 46), (437, y + 46), (437, y + 12)),
        wire((448, y), (478, y)),
        box(518, y, 76, 44, "Conv 3×3\n64 → 3r²"),
        wire((556, y), (582, y)),
        box(630, y, 92, 44, "PixelShuffle\n×r"),
        wire((676, y), (714, y)),
        label(696, y - 7, "SR"),
        label(48, low - 38, "one LAM block"),
        wire((6, low), (60, low)),
        box(100, low, 78, 40, "ULM", "blue"),
        wire((139, low), (172, low)),
        box(212, low, 78, 40, "DGFN", "warm"),
        wire((251, low), (286, low)),
        label(312, low + 5, "six times"),
        wire((338, low), (372, low)),
        box(412, low, 78, 40, "ULM", "blue"),
        wire((451, low), (484, low)),
        box(524, low, 78, 40, "DGFN", "warm"),
        wire((563, low), (620, low)),
        label(594, low - 7, "·α"),
        node(632, low, "+"),
        wire((30, low), (30, low + 44), (632, low + 44), (632, low + 12)),
        wire((643, low), (714, low)),
    ]
    return svg(720, 206, parts, "LAMNet: convolution, LAM blocks, convolution, residual, upsampling")


def ulm_svg() -> str:
    """Return the diagram of ULM: two branches and the exchange between them."""
    y, up, down = 100, 46, 154
    parts = [
        wire((6, y), (40, y)),
        box(80, y, 80, 44, "Conv 1×1\n64 → 64"),
        wire((120, y), (146, y), (146, up), (176, up)),
        wire((146, y), (146, down), (176, down)),
        label(160, up - 8, "32"),
        label(160, down + 18, "32"),
        box(262, up, 172, 48, "CSM\n32 → 16 → 32, per pixel"),
        box(214, down, 76, 48, "FSA\nalong rows", "blue"),
        wire((252, down), (264, down)),
        box(306, down, 84, 48, "FSA\nalong columns", "blue"),
        wire((348, up), (476, up)),
        wire((348, down), (476, down)),
        label(366, up - 8, "c"),
        label(366, down + 18, "a"),
        box(420, y, 76, 36, "IEM", "warm"),
        wire((390, up), (390, y - 18)),
        wire((390, down), (390, y + 18)),
        wire((448, y - 18), (448, up + 26), (487, up + 26), (487, up + 12)),
        wire((448, y + 18), (448, down - 26), (487, down - 26), (487, down - 12)),
        node(487, up, "×"),
        node(487, down, "×"),
        label(524, up + 30, "spatial gate"),
        label(526, down - 22, "channel gate"),
        wire((498, up), (590, up), (590, y - 8)),
        wire((498, down), (590, down), (590, y + 8)),
        label(566, y + 4, "concat"),
        wire((590, y), (614, y)),
        box(654, y, 80, 44, "Conv 1×1\n64 → 64"),
        wire((694, y), (720, y)),
    ]
    return svg(726, 196, parts, "ULM: a channel branch and a spatial branch that gate each other")


def dgfn_svg() -> str:
    """Return the diagram of DGFN with its two gates."""
    y, up, down = 84, 38, 130
    parts = [
        wire((6, y), (40, y)),
        box(80, y, 80, 44, "Conv 1×1\n64 → 128"),
        wire((120, y), (148, y)),
        box(192, y, 88, 44, "DWConv 3×3\nper channel"),
        wire((236, y), (258, y), (258, up), (470, up)),
        wire((258, y), (258, down), (470, down)),
        label(280, up - 8, "x₁"),
        label(280, down + 18, "x₂"),
        wire((318, up), (318, y), (346, y)),
        box(386, y, 80, 36, "GELU", "warm"),
        wire((426, y), (482, y), (482, up + 11)),
        wire((482, y), (482, down - 11)),
        label(448, y - 8, "u"),
        node(482, up, "×"),
        node(482, down, "×"),
        wire((493, up), (590, up), (590, y - 8)),
        wire((493, down), (590, down), (590, y + 8)),
        label(540, up - 8, "self-gate u·x₁"),
        label(540, down + 18, "cross-gate u·x₂"),
        label(566, y + 4, "concat"),
        wire((590, y), (614, y)),
        box(654, y, 80, 44, "Conv 1×1\n128 → 64"),
        wire((694, y), (720, y)),
    ]
    return svg(726, 168, parts, "DGFN: one activation gates both halves")
