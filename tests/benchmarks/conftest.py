import importlib
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import torch

sys.path.append(str(Path(__file__).parent))  # for the modules in this folder
if find_spec("triton") and not torch.cuda.is_available():
    with mock.patch.dict(os.environ, {"TRITON_INTERPRET": "1"}):  # read on import: whether kernels run in Python
        importlib.import_module("plain_kernels")
