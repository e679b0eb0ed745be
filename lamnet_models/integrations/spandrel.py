"""spandrel: other people's networks here, and LAMNet in applications that load networks with spandrel."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import torch
from spandrel import (
    MAIN_REGISTRY,
    Architecture,
    ArchSupport,
    ImageModelDescriptor,
    ModelLoader,
    ModelTiling,
    StateDict,
    UnsupportedModelError,
)
from torch import Tensor, nn

from ..checkpoint import Checkpoint
from ..errors import CheckpointError
from ..lamnet import LAMNet
from ..pickles import check_pickle

_SHARED = ("conv_first.weight", "conv_body.weight", "residual.alpha")
_OURS = (*_SHARED, "blocks.0.layers.0.layer.spatial.cells")
_MHDLSA = (*_SHARED, "blocks.0.layers.0.layer.spatial.expand.weight")
_RELEASED = ("shallow_feature_extraction.weight", "deep_feature_extraction.0.mixers.0.fn.h_kernel.0.weight")


class LAMNetArchitecture(Architecture[LAMNet]):
    """LAMNet as spandrel knows architectures: told by its keys, built from its tensors, ours or the released ones."""

    def __init__(self) -> None:
        super().__init__(
            id="LAMNet", detect=lambda state: any(all(k in state for k in s) for s in (_OURS, _MHDLSA, _RELEASED))
        )

    def load(self, state_dict: StateDict) -> ImageModelDescriptor[LAMNet]:
        """Returns the network that a state dict holds.

        Raises:
            CheckpointError: If it is not a LAMNet's.
        """
        checkpoint = Checkpoint.from_state(state_dict)
        model = checkpoint.build()
        config = checkpoint.config
        return ImageModelDescriptor(
            model,
            checkpoint.state,
            architecture=self,
            purpose="SR" if model.scale > 1 else "Restoration",
            tags=[f"{config['channels']}nf", f"{config['num_blocks']}nb", f"{model.window.size}w"],
            supports_half=True,
            supports_bfloat16=True,
            scale=model.scale,
            input_channels=model.in_chans,
            output_channels=model.in_chans,
            # The exchange takes means over the whole image: those of a tile are others, and so are its pixels.
            tiling=ModelTiling.DISCOURAGED if config["exchange"] else ModelTiling.SUPPORTED,
        )


def install() -> None:
    """Teaches spandrel LAMNet's architecture, so that applications built on it load our files and the released ones."""
    MAIN_REGISTRY.add(ArchSupport.from_architecture(LAMNetArchitecture()), ignore_duplicates=True)


class Peer(nn.Module):
    """A network that spandrel has loaded, as our tools take networks.

    Args:
        descriptor: What spandrel has made of a file; images are padded as it says.

    Attributes:
        scale: Factor of enlargement.
        in_chans: Channels of the images.
        network: The network itself, which passes gradients, and takes images of the sides that it needs.
        descriptor: What spandrel knows of it.

    Raises:
        CheckpointError: If the network does not map images to images of as many channels.
    """

    def __init__(self, descriptor: ImageModelDescriptor) -> None:
        super().__init__()
        if not isinstance(descriptor, ImageModelDescriptor) or descriptor.input_channels != descriptor.output_channels:
            kind = descriptor.architecture.name
            raise CheckpointError(f"a network of the kind {kind} does not enlarge images: it cannot be used here")
        self.network = descriptor.model
        self.scale: int = descriptor.scale
        self.in_chans: int = descriptor.input_channels
        self.descriptor = descriptor

    def forward(self, x: Tensor) -> Tensor:
        """Returns the enlarged images, (B, in_chans, r·H, r·W), clamped to [0, 1]."""
        # One at a time, as spandrel asks; a copy, for what it returns is of inference mode and cannot be changed.
        return torch.cat([self.descriptor(image[None]) for image in x]).clone()


def load_peer(path: str | os.PathLike) -> Peer:
    """Loads a checkpoint of any architecture that spandrel knows, in evaluation mode on the CPU.

    Args:
        path: The file: ``.pth``, ``.pt``, ``.ckpt`` or ``.safetensors``.

    Raises:
        CheckpointError: If the file cannot be read, or spandrel does not know its architecture.
    """
    check_pickle(Path(path))
    try:
        with warnings.catch_warnings():  # of torch functions that networks call in an old way
            warnings.simplefilter("ignore")
            return Peer(ModelLoader("cpu").load_from_file(Path(path)).eval())
    except CheckpointError:
        raise
    except UnsupportedModelError:
        raise CheckpointError(f"{path}: neither a LAMNet nor of an architecture that spandrel knows") from None
    except Exception as error:  # whatever a damaged or foreign file leads torch and spandrel to
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"{path}: spandrel cannot load it ({type(error).__name__}: {reason})") from None
