"""One-line messages for errors of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError

from .errors import HubError, LAMNetError

# The bases of HfHubHTTPError are the errors of the HTTP library, which differs between versions.
HUB_ERRORS = (OSError, EntryNotFoundError, HFValidationError, *HfHubHTTPError.__bases__)
"""Errors raised by hub access, including network errors."""

_LOGIN = "set HF_TOKEN to a token with access, or run hf auth login"


def describe_hub_error(error: Exception) -> str:
    """Return a one-line message with the remedy."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, HFValidationError):
        return "the repository name must be ORGANIZATION/NAME"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set: unset it"
    if isinstance(error, LocalTokenNotFoundError):
        return f"not logged in: {_LOGIN}"
    if isinstance(error, GatedRepoError):
        return f"access must be granted by the owner: {_LOGIN}"
    if isinstance(error, RevisionNotFoundError):
        return "revision not found in the repository"
    if status in (401, 403) and not isinstance(error, RepositoryNotFoundError):
        return f"access denied ({status}): {_LOGIN}"
    if isinstance(error, RepositoryNotFoundError):
        return f"repository not found, or private: {_LOGIN}"
    if isinstance(error, LocalEntryNotFoundError):
        return "the hub cannot be reached, and the file is not in the cache"
    if isinstance(error, EntryNotFoundError):
        return "file not found in the repository"
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def translate_hub_errors(name: str) -> Iterator[None]:
    """Translate errors of loading a model in timm's format, from a hub or folder, to HubError.

    Args:
        name: Name of the model, for the error message.

    Raises:
        HubError: For all errors other than LAMNetError.
    """
    try:
        yield
    except LAMNetError:
        raise
    except HUB_ERRORS as error:
        raise HubError(f"cannot load {name}: {describe_hub_error(error)}") from None
    except (RuntimeError, SafetensorError, KeyError, TypeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise HubError(
            f"{name} is not a model in timm's format, or damaged ({type(error).__name__}: {reason})"
        ) from None
