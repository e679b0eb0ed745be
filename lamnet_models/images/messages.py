"""One-line messages from arbitrary names and errors."""


def one_line(text: object) -> str:
    """Return ``str(text)`` with unprintable characters and line breaks escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, or its type without a message."""
    if isinstance(error, OSError) and error.strerror:
        return one_line(error.strerror)
    lines = str(getattr(error, "detail", error)).strip().splitlines()  # pyvips.Error has the cause in detail
    return one_line(lines[0]) if lines else type(error).__name__
