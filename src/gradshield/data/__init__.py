"""Data files in and out: rows, conversations, and examples with their response tokens."""

from gradshield.data.containers import CONTAINERS, Container, FileFacts, open_container
from gradshield.data.conversation import Conversation, Message, Preference, Rejection
from gradshield.data.errors import DataError
from gradshield.data.formats import FORMATS, Format, FormatDetection, detect_format, format_named
from gradshield.data.load import (
    LoadedData,
    ResponseChoice,
    TokenizedRows,
    load_examples,
    tokenize_rows,
    tokenize_rows_or_pairs,
)
from gradshield.data.pairs import TokenizedPair, tokenize_preference
from gradshield.data.preview import preview
from gradshield.data.profiles import DEFAULT_PROFILE, PROFILES, Profile, make_profile
from gradshield.data.rows import SourceRow
from gradshield.data.template import ChatTemplate, TemplateError
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
    "open_container",
    "preview",
    "tokenize_conversation",
    "tokenize_preference",
    "tokenize_rows",
    "tokenize_rows_or_pairs",
]
