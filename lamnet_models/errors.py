"""Errors with one-line messages for the user: the problem and, if there is one, the remedy.

The command line prints the messages unchanged.
"""


class LAMNetError(Exception):
    """Base class of all errors with a message for the user."""


class CheckpointError(LAMNetError):
    """A checkpoint is missing, damaged or does not match the model."""


class ExportError(LAMNetError):
    """A network cannot be exported, or the exported program computes different results."""


class HubError(LAMNetError):
    """A hub cannot be reached, denies access, or the repository is not as expected."""


class ImageError(LAMNetError):
    """An image cannot be read, written or processed.

    Args:
        message: The message.
        option: Field of ``inference.files.Options`` that avoids the error. The message does not name it, because each
            interface has its own options.
    """

    def __init__(self, message: str, option: str | None = None) -> None:
        super().__init__(message)
        self.option = option


class DatasetError(LAMNetError):
    """A dataset is missing, incomplete or has an unknown layout."""


class ModelError(LAMNetError):
    """A model name is unknown, or the model has no weights."""


class TrainingError(LAMNetError):
    """A training run cannot start or continue."""


def one_line(text: object) -> str:
    """Return ``str(text)`` with unprintable characters and line breaks escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def collapse_whitespace(text: object) -> str:
    """Return ``str(text)`` in one line, with line breaks and repeated spaces replaced by one space."""
    return " ".join(str(text).split())


def quantity(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural unless the count is 1: ``"1 image"``, ``"1,024 patches"``."""
    plural = "es" if noun.endswith("ch") else "s"
    return f"{count:,} {noun}{'' if count == 1 else plural}"


def error_reason(error: BaseException) -> str:
    """Return the first line of an error's message, or its type without a message."""
    if isinstance(error, OSError) and error.strerror:
        return one_line(error.strerror)
    lines = str(getattr(error, "detail", error)).strip().splitlines()  # pyvips.Error has the cause in detail
    return one_line(lines[0]) if lines else type(error).__name__
