"""Errors that a user can act on.

Each message is one line that says what is wrong and what to do; the command line prints it as it stands.
"""


class LAMNetError(Exception):
    """Base of all errors whose message is meant for the user."""


class CheckpointError(LAMNetError):
    """A checkpoint is missing, damaged, or does not fit the model."""


class ExportError(LAMNetError):
    """A network cannot be written as a program, or the program does not compute the same."""


class HubError(LAMNetError):
    """A hub cannot be reached, refuses, or holds something else."""


class ImageError(LAMNetError):
    """An image cannot be read, written or processed."""


class DatasetError(LAMNetError):
    """A dataset is missing, incomplete or not laid out in a known way."""


class ModelError(LAMNetError):
    """A model's name is unknown, or there are no weights for it."""


class TrainingError(LAMNetError):
    """A training run cannot start or go on."""
