"""JSON objects of metadata: their type, their canonical bytes and their digest."""

from __future__ import annotations

import hashlib
import json
from typing import Any

Facts = dict[str, Any]


def digest(facts: Facts) -> str:
    """The SHA-256 of facts as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def as_json(facts: Facts) -> bytes:
    """Facts as a file of ours holds them; names that are no Unicode are escaped."""
    return (json.dumps(facts, indent=1) + "\n").encode()
