"""``lamnet env``: versions, devices and backends, for bug reports."""

from __future__ import annotations

from .options import Json
from .output import print_json, print_table


def env(as_json: Json = False) -> None:
    """Print versions, devices and backends.

    Example: lamnet env
    """
    import os
    import platform
    from importlib.metadata import packages_distributions, version
    from importlib.util import find_spec

    import torch

    from lamnet_layers import __version__ as layers_version
    from lamnet_layers.backend import BACKEND_VARIABLE, select_backend, unavailable_reason
    from lamnet_layers.ops.native import library
    from lamnet_models.names import HUB_VARIABLE, WEIGHTS_VARIABLE

    report = {"lamnet": version("lamnet"), "python": platform.python_version(), "platform": platform.platform()}
    owners = sorted(set(packages_distributions().get("lamnet_layers", ())))
    report["lamnet_layers"] = f"{layers_version}, installed by {' and '.join(owners) or 'no distribution'}"
    if len(owners) > 1:
        report["lamnet_layers"] += ": uninstall both, then install one"
    report |= {name: version(name) for name in ("torch", "timm", "safetensors", "pillow", "pyvips")}
    report["cpu"] = f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    if torch.cuda.is_available():
        report["cuda"] = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    else:
        report["cuda"] = f"not available (torch built for CUDA {torch.version.cuda or 'none'})"
    report["mps"] = "available" if torch.backends.mps.is_available() else "not available"
    report["triton"] = version("triton") if find_spec("triton") else "not installed"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        backend = select_backend(None, device)
        off = f"off; enable with {BACKEND_VARIABLE}=fused"
        report["backend"] = f"{backend} on {device}"
        report["fused kernels"] = "on, inference only" if backend == "fused" else off
    except (ValueError, RuntimeError) as error:
        report["backend"] = report["fused kernels"] = str(error)
    for name, on in (("native", "cpu"), ("triton", device)):
        reason = unavailable_reason(name, on)
        report[f"{name} kernels"] = f"unavailable: {reason}" if reason else "available"
    if unavailable_reason("native", "cpu") is None:
        bf16 = ", bfloat16 by AMX" if library.bf16_available() else ""
        report["native kernels"] += f", {library.variant()}{bf16}"
    report |= {name: os.environ.get(name, "not set") for name in (BACKEND_VARIABLE, WEIGHTS_VARIABLE, HUB_VARIABLE)}
    if as_json:
        print_json(report)
    else:
        print_table(["", ""], [[key, value] for key, value in report.items()])
