"""The error that a user of the data layer sees."""

from __future__ import annotations

from gradshield.errors import UserError


class DataError(UserError):
    """A data file, or a tokenizer, that cannot be used at all.

    The text is one line for the user: what is wrong, where, and what to do. A fault of one row
    is a `gradshield.data.conversation.Rejection` instead; the other rows go on.
    """


class TemplateError(DataError):
    """The tokenizer's chat template is missing, or unusable whatever the rows are."""
