"""One line for the user, whatever names and reasons hold."""


def one_line(text: object) -> str:
    """Returns ``str(text)`` with everything that does not print, line breaks first of all, as an escape sequence."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def reason(error: BaseException) -> str:
    """Returns the first line of an error's message, or its type where it has none."""
    if isinstance(error, OSError) and error.strerror:
        return one_line(error.strerror)
    lines = str(getattr(error, "detail", error)).strip().splitlines()  # libvips has the cause in the detail
    return one_line(lines[0]) if lines else type(error).__name__
