"""The one exception that the command line shows without a traceback."""


class UserError(Exception):
    """Something the user can mend; the text says what happened, where, and what to do next."""


def first_line(fault: BaseException) -> str:
    """The first line of what an exception says, or its type where it says nothing."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(fault).__name__
