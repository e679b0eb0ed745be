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
    from importlib.util import find_spec

    import torch

    from lamnet_layers.backends.select import BACKEND_VARIABLE, select, triton_unavailable_reason
    from lamnet_models.pretrained import HUB_VARIABLE, WEIGHTS_VARIABLE

    facts = {"lamnet": version("lamnet"), "python": platform.python_version(), "platform": platform.platform()}
    facts |= {name: version(name) for name in ("torch", "timm", "safetensors", "pillow", "pyvips")}
    facts["cpu"] = f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    if torch.cuda.is_available():
        facts["cuda"] = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    else:
        facts["cuda"] = f"not available (torch built for CUDA {torch.version.cuda or 'none'})"
    facts["mps"] = "available" if torch.backends.mps.is_available() else "not available"
    facts["triton"] = version("triton") if find_spec("triton") else "not installed"
    where = "cuda" if torch.cuda.is_available() else "cpu"
    reason = triton_unavailable_reason(where)
    try:
        backend = select(None, where)
        facts["focal_aggregate"] = f"{backend} on {where}; kernels: {reason or 'can run'}"
        facts["fused kernels"] = (
            "on, without gradients" if backend == "fused" else f"off; {BACKEND_VARIABLE}=fused asks for them"
        )
    except (ValueError, RuntimeError) as error:
        facts["focal_aggregate"] = facts["fused kernels"] = str(error)
    facts |= {name: os.environ.get(name, "not set") for name in (BACKEND_VARIABLE, WEIGHTS_VARIABLE, HUB_VARIABLE)}
    if as_json:
        print_json(facts)
    else:
        print_table(["", ""], [[key, value] for key, value in facts.items()])
