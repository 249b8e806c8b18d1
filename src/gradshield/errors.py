"""The one exception that the command line shows without a traceback."""


class UserError(Exception):
    """Something the user can mend; the text says what happened, where, and what to do next."""
