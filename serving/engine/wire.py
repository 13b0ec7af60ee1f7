"""What parent and worker say to each other: JSON headers and Arrow IPC bytes, never pickle.

parent -> worker   {"op": "open", …} once, then {"op": "parse" | "run", …}; {"op": "cancel"}
                   at any time
worker -> parent   one JSON answer; after {"ok": true, "stream": true} Arrow frames follow
                   until an empty frame, then a JSON trailer
"""

import json
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
