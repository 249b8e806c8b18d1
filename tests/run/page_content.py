"""What a page of a report holds, read as its script does."""

from __future__ import annotations

import base64
import gzip
import json
import re
from typing import Any


def page_details(page: str) -> dict[int, dict[str, Any]]:
    """The texts inside a page, by row."""
    blocks = re.findall(r'class="rows-block">([^<]*)</script>', page)
    rows = [row for block in blocks for row in json.loads(gzip.decompress(base64.b64decode(block)))]
    return {row["row"]: row for row in rows}


def page_data(page: str) -> dict[str, Any]:
    """The table of a page, by columns, and what else its script reads."""
    found = re.search(r'id="report-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data
