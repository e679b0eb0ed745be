"""What papers print for the models of this package: Table 3 of the LAMNet paper."""

from __future__ import annotations

_SETS = ("set5", "set14", "bsd100", "urban100", "manga109")

_TABLE_3 = {
    "lamnet_x2": "38.22/0.9613 34.00/0.9208 32.35/0.9019 33.03/0.9359 39.33/0.9782",
    "lamnet_large_x2": "38.27/0.9615 34.07/0.9214 32.38/0.9023 33.16/0.9373 39.38/0.9785",
    "lamnet_x3": "34.71/0.9295 30.63/0.8472 29.28/0.8097 28.90/0.8668 34.36/0.9491",
    "lamnet_large_x3": "34.75/0.9299 30.65/0.8478 29.31/0.8107 29.03/0.8692 34.44/0.9497",
    "lamnet_x4": "32.51/0.8983 28.87/0.7880 27.75/0.7427 26.72/0.8048 31.26/0.9169",
    "lamnet_large_x4": "32.60/0.9000 28.87/0.7886 27.77/0.7434 26.82/0.8078 31.33/0.9183",
}


def published(model: str, dataset: str) -> tuple[float, float] | None:
    """Returns the PSNR in dB and the SSIM that the paper prints, or None where it prints none.

    Args:
        model: Name of a model.
        dataset: Name of a set.
    """
    row = _TABLE_3.get(model)
    if row is None or dataset not in _SETS:
        return None
    psnr, ssim = row.split()[_SETS.index(dataset)].split("/")
    return float(psnr), float(ssim)
