import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="session")
def docs():
    """The folder of the documentation, whose scripts can be imported."""
    sys.path.insert(0, str(DOCS))
    yield DOCS
    sys.path.remove(str(DOCS))
