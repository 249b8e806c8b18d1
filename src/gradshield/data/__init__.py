"""Data files in and out: rows, conversations, and examples with their response tokens."""

from gradshield.data.containers import CONTAINERS, Container, FileFacts, open_container
from gradshield.data.conversation import Conversation, Message, Preference, Rejection
from gradshield.data.errors import DataError, TemplateError
from gradshield.data.formats import FORMATS, Format, FormatDetection, detect_format, format_named
from gradshield.data.load import (
    LoadedData,
    ResponseChoice,
    TokenizedRows,
    load_examples,
    tokenize_rows,
    tokenize_rows_or_pairs,
)
from gradshield.data.omissions import omission_notes
from gradshield.data.opening import open_source
from gradshield.data.pairs import TokenizedPair, tokenize_preference
from gradshield.data.preview import preview
from gradshield.data.profiles import DEFAULT_PROFILE, PROFILES, Profile, make_profile
from gradshield.data.rows import SourceRow
from gradshield.data.source import DataSource
from gradshield.data.template import ChatTemplate
from gradshield.data.tokenization import TokenizedExample, tokenize_conversation

__all__ = [
    "CONTAINERS",
    "DEFAULT_PROFILE",
    "FORMATS",
    "PROFILES",
    "ChatTemplate",
    "Container",
    "Conversation",
    "DataError",
    "DataSource",
    "FileFacts",
    "Format",
    "FormatDetection",
    "LoadedData",
    "Message",
    "Preference",
    "Profile",
    "Rejection",
    "ResponseChoice",
    "SourceRow",
    "TemplateError",
    "TokenizedExample",
    "TokenizedPair",
    "TokenizedRows",
    "detect_format",
    "format_named",
    "load_examples",
    "make_profile",
    "omission_notes",
    "open_container",
    "open_source",
    "preview",
    "tokenize_conversation",
    "tokenize_preference",
    "tokenize_rows",
    "tokenize_rows_or_pairs",
]
