"""spandrel integration: peer networks as modules, and LAMNet as a spandrel architecture."""

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

from ..checkpoint import Checkpoint, check_pickle
from ..errors import CheckpointError
from ..lamnet import LAMNet

_COMMON_KEYS = ("conv_first.weight", "conv_body.weight", "residual.alpha")
_FSA_KEYS = (*_COMMON_KEYS, "blocks.0.layers.0.layer.spatial.cells")
_MHDLSA_KEYS = (*_COMMON_KEYS, "blocks.0.layers.0.layer.spatial.expand.weight")
_ORIGINAL_KEYS = ("shallow_feature_extraction.weight", "deep_feature_extraction.0.mixers.0.fn.h_kernel.0.weight")


class LAMNetArchitecture(Architecture[LAMNet]):
    """spandrel architecture of LAMNet, for state dicts in either format."""

    def __init__(self) -> None:
        super().__init__(
            id="LAMNet",
            detect=lambda state: any(
                all(key in state for key in keys) for keys in (_FSA_KEYS, _MHDLSA_KEYS, _ORIGINAL_KEYS)
            ),
        )

    def load(self, state_dict: StateDict) -> ImageModelDescriptor[LAMNet]:
        """Return the model descriptor of a state dict.

        Raises:
            CheckpointError: If the state dict is not a LAMNet's.
        """
        checkpoint = Checkpoint.from_state(state_dict)
        model = checkpoint.build()
        config = checkpoint.config
        return ImageModelDescriptor(
            model,
            checkpoint.state,
            architecture=self,
            purpose="SR" if model.scale > 1 else "Restoration",
            tags=[f"{config['embed_dim']}nf", f"{config['num_blocks']}nb", f"{model.window.size}w"],
            supports_half=True,
            supports_bfloat16=True,
            scale=model.scale,
            input_channels=model.in_chans,
            output_channels=model.in_chans,
            # IEM's gates depend on means over the whole image, so tiles change the result.
            tiling=ModelTiling.DISCOURAGED if config["gate_layer"] else ModelTiling.SUPPORTED,
        )


def install() -> None:
    """Register LAMNet with spandrel, so that applications built on it load LAMNet checkpoints."""
    MAIN_REGISTRY.add(ArchSupport.from_architecture(LAMNetArchitecture()), ignore_duplicates=True)


class Peer(nn.Module):
    """Network loaded by spandrel, with the interface of LAMNet.

    Args:
        descriptor: spandrel's model descriptor; its size requirements define the padding.

    Attributes:
        scale: Scale factor.
        in_chans: Number of image channels.
        network: The wrapped network, with gradients, for images that meet its size requirements.
        descriptor: spandrel's model descriptor.

    Raises:
        CheckpointError: If the network is not an image model with equal input and output channels.
    """

    def __init__(self, descriptor: ImageModelDescriptor) -> None:
        super().__init__()
        if not isinstance(descriptor, ImageModelDescriptor) or descriptor.input_channels != descriptor.output_channels:
            name = descriptor.architecture.name
            raise CheckpointError(f"{name} is not an image model with equal input and output channels")
        self.network = descriptor.model
        self.scale: int = descriptor.scale
        self.in_chans: int = descriptor.input_channels
        self.descriptor = descriptor

    def forward(self, x: Tensor) -> Tensor:
        """Return the upscaled images, (B, in_chans, r·H, r·W), clamped to [0, 1]."""
        # spandrel requires batch size 1. It returns inference tensors; the clone can be modified in place.
        return torch.cat([self.descriptor(image[None]) for image in x]).clone()


def load_peer(path: str | os.PathLike) -> Peer:
    """Load a checkpoint that spandrel supports, in evaluation mode on the CPU.

    Args:
        path: Checkpoint file, ``.pth``, ``.pt``, ``.ckpt`` or ``.safetensors``.

    Raises:
        CheckpointError: If the file cannot be read, or spandrel does not support its architecture.
    """
    check_pickle(Path(path))
    try:
        with warnings.catch_warnings():  # deprecated torch functions in third-party networks
            warnings.simplefilter("ignore")
            return Peer(ModelLoader("cpu").load_from_file(Path(path)).eval())
    except CheckpointError:
        raise
    except UnsupportedModelError:
        raise CheckpointError(f"{path}: its architecture is not supported by spandrel") from None
    except Exception as error:  # arbitrary errors of torch and spandrel for damaged files
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"{path}: spandrel cannot load it ({type(error).__name__}: {reason})") from None
