"""The command line: one command a file."""

import logging

# Before any command imports it: it warns at import of a kernel that could be faster.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
