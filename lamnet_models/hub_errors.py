"""What goes wrong with a hub, in one line."""

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

# The bases are the errors of the library that speaks HTTP, another one in other versions.
HUB_ERRORS = (OSError, EntryNotFoundError, HFValidationError, *HfHubHTTPError.__bases__)
"""What a hub, or the way there, may raise."""

_LOGIN = "set HF_TOKEN to a token that may, or run hf auth login"


def describe_hub_error(error: Exception) -> str:
    """Returns one line that says what went wrong and what to do."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, HFValidationError):
        return "this is no repository's name: it must be ORGANISATION/NAME"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set: unset it"
    if isinstance(error, LocalTokenNotFoundError):
        return f"nobody is logged in: {_LOGIN}"
    if isinstance(error, GatedRepoError):
        return f"its owner has to grant access first, and this must be shown: {_LOGIN}"
    if isinstance(error, RevisionNotFoundError):
        return "the repository has no such revision"
    if status in (401, 403) and not isinstance(error, RepositoryNotFoundError):
        return f"the hub refuses ({status}): {_LOGIN}"
    if isinstance(error, RepositoryNotFoundError):
        return f"there is no such repository, or it is private: {_LOGIN}"
    if isinstance(error, LocalEntryNotFoundError):
        return "the hub cannot be reached, and there is no copy from an earlier download"
    if isinstance(error, EntryNotFoundError):
        return "the repository has no such file"
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def translate_hub_errors(name: str) -> Iterator[None]:
    """Turns what reading a model in timm's form raises, from a hub or a folder, into one line.

    Args:
        name: What the model was asked for as.

    Raises:
        HubError: In place of all but our own errors.
    """
    try:
        yield
    except LAMNetError:
        raise
    except HUB_ERRORS as error:
        raise HubError(f"{name} cannot be had: {describe_hub_error(error)}") from None
    except (RuntimeError, SafetensorError, KeyError, TypeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise HubError(f"{name} is no model in timm's form, or damaged ({type(error).__name__}: {reason})") from None
