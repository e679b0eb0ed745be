"""TensorBoard callback; requires the extra ``tensorboard``."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import TrainingError
from .events import Report, Validation

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard:
    """Callback that writes TensorBoard event files.

    Args:
        folder: Folder of the event files.

    Raises:
        TrainingError: If TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise TrainingError("tensorboard is not installed: pip install 'lamnet[tensorboard]'") from None
        self._writer_class, self._folder = SummaryWriter, str(folder)

    @cached_property
    def _writer(self) -> SummaryWriter:
        return self._writer_class(self._folder)  # on first use, as it creates the folder at once

    def on_report(self, report: Report) -> None:
        """Write loss, learning rate, LR pixels and speed."""
        for name in ("loss", "lr", "images_per_second", "pixels", "pixels_per_second"):
            self._writer.add_scalar(f"training/{name}", getattr(report, name), report.step)
        self._writer.flush()

    def on_validation(self, validation: Validation) -> None:
        """Write PSNR and SSIM."""
        for name in ("psnr", "ssim"):
            self._writer.add_scalar(f"validation/{name}", getattr(validation, name), validation.step)
        self._writer.flush()

    def on_message(self, text: str) -> None:
        """Ignore the message."""
