"""``lamnet env``: versions, devices and fast paths, for bug reports and for wondering why it is slow."""

from __future__ import annotations

from .options import Json
from .output import print_json, print_table


def env(as_json: Json = False) -> None:
    """Prints versions and devices, and which fast paths are on, or why not.

    Example: lamnet env
    """
    import os
    import platform
    from importlib.metadata import version

    import torch

    from lamnet_models.pretrained import HUB_VARIABLE, WEIGHTS_VARIABLE

    facts = {"lamnet": version("lamnet"), "python": platform.python_version(), "platform": platform.platform()}
    facts |= {name: version(name) for name in ("torch", "timm", "safetensors", "pillow", "pyvips")}
    facts["cpu"] = f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    if torch.cuda.is_available():
        facts["cuda"] = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    else:
        facts["cuda"] = f"not available (torch built for CUDA {torch.version.cuda or 'none'})"
    facts["mps"] = "available" if torch.backends.mps.is_available() else "not available"
    facts["focal_aggregate"] = "eager, on every device: this version has no CUDA kernels yet"
    facts |= {name: os.environ.get(name, "not set") for name in (WEIGHTS_VARIABLE, HUB_VARIABLE)}
    if as_json:
        print_json(facts)
    else:
        print_table(["", ""], [[key, value] for key, value in facts.items()])
