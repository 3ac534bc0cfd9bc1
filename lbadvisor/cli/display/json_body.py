"""Records as JSON."""

import json
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter


def json_of(record: Any) -> dict[str, Any]:
    """A record's fields as JSON has them: moments as ISO 8601, what is not finite as null."""
    kind: Any = type(record)
    body: dict[str, Any] = json.loads(_adapter(kind).dump_json(record))
    return body


@lru_cache(maxsize=64)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
