"""What all tests share."""

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores; threads of their own would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material that lies beside a developer's checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the reference material in {SHARED}")
    return SHARED
