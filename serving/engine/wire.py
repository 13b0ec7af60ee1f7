"""What parent and worker say to each other: JSON headers and Arrow IPC bytes, never pickle.

parent -> worker   {"op": "open", …} once, then {"op": "parse" | "run", …}; {"op": "cancel"}
                   at any time
worker -> parent   one JSON line; an answer's Arrow stream stands behind it, or follows as
                   frames (`streams`) until an empty one, then a JSON trailer
"""

import json
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from multiprocessing.connection import Connection
from typing import Any

Message = dict[str, Any]


def send(connection: "Connection[Any, Any]", message: Message) -> None:
    """One JSON message."""
    connection.send_bytes(json.dumps(message).encode())


def receive(connection: "Connection[Any, Any]") -> Message:
    """One JSON message; raises EOFError when the other side is gone."""
    message: Message = json.loads(connection.recv_bytes())
    return message


def packed(value: object) -> object:
    """A parameter's value as JSON that keeps its type; raises TypeError for other types."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    kind = next((kind for kind in _TYPES if type(value) is _TYPES[kind]), None)
    if kind is None:
        raise TypeError(f"a {type(value).__name__} cannot be a parameter")
    return {kind: str(value) if isinstance(value, Decimal) else value.isoformat()}  # type: ignore[attr-defined]


def unpacked(value: object) -> object:
    """The value that was packed."""
    if not isinstance(value, Mapping):
        return value
    ((kind, text),) = value.items()
    return Decimal(text) if kind == "decimal" else _TYPES[kind].fromisoformat(text)  # type: ignore[attr-defined]


_TYPES = {"decimal": Decimal, "timestamp": datetime, "date": date}
