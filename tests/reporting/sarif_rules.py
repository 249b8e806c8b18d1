"""The parts of the SARIF 2.1.0 schema that a report uses, as a JSON Schema of our own.

Stricter than the standard: properties that a report has no use for are refused.
"""

from __future__ import annotations

from typing import Any


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": {**required, **(optional or {})},
    }


_TEXT = {"type": "string", "minLength": 1}
_MESSAGE = _object({"text": _TEXT})
_URI = {"type": "string", "format": "uri-reference", "pattern": "^[^\\s\\\\]+$"}
_ARTIFACT = _object({"uri": _URI}, {"index": {"type": "integer", "minimum": -1}})
_REGION = _object({"startLine": {"type": "integer", "minimum": 1}})
_LOCATION = _object(
    {"physicalLocation": _object({"artifactLocation": _ARTIFACT}, {"region": _REGION})},
    {"logicalLocations": {"type": "array", "items": _object({"name": _TEXT, "kind": _TEXT})}},
)
_SUPPRESSION = _object(
    {
        "kind": {"enum": ["inSource", "external"]},
        "status": {"enum": ["accepted", "underReview", "rejected"]},
        "justification": _TEXT,
    }
)
_LEVEL = {"enum": ["none", "note", "warning", "error"]}
_RESULT = _object(
    {
        "ruleId": _TEXT,
        "ruleIndex": {"type": "integer", "minimum": 0},
        "level": _LEVEL,
        "message": _MESSAGE,
        "locations": {"type": "array", "minItems": 1, "items": _LOCATION},
        "rank": {"type": "number", "minimum": -1, "maximum": 100},
        "properties": {"type": "object"},
    },
    {
        "partialFingerprints": {"type": "object", "additionalProperties": _TEXT},
        "suppressions": {"type": "array", "uniqueItems": True, "items": _SUPPRESSION},
    },
)
_RULE = _object(
    {
        "id": _TEXT,
        "shortDescription": _MESSAGE,
        "fullDescription": _MESSAGE,
        "defaultConfiguration": _object({"level": _LEVEL}),
    }
)
_DRIVER = _object(
    {"name": _TEXT, "semanticVersion": _TEXT, "rules": {"type": "array", "items": _RULE}}
)
_RUN = _object(
    {
        "tool": _object({"driver": _DRIVER}),
        "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
        "artifacts": {
            "type": "array",
            "items": _object({"location": _ARTIFACT, "hashes": {"type": "object"}}),
        },
        "results": {"type": "array", "items": _RESULT},
        "properties": {"type": "object"},
    }
)
SARIF = _object(
    {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "minItems": 1, "items": _RUN},
    }
)
