"""Registration of the models with timm without importing timm."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def install_timm_hook() -> None:
    """Register the models with timm: now if timm is loaded, otherwise right after its import."""
    if "timm" in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _TimmFinder())


class _TimmFinder:
    """Import hook that registers the models after timm has been imported."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "timm":
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, others), None)
        if spec and spec.loader:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                _register()

            spec.loader.exec_module = exec_module
        return spec


def _register() -> None:
    import_module("lamnet_models.lamnet").register_with_timm()
