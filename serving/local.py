"""While people are picked from a list instead of logging in, only this machine may connect."""

import ipaddress
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

NAMES = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str | None) -> bool:
    """Whether an address or name can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def address_problem(host: str | None) -> str:
    """Why the explorer must not listen there; empty when it may."""
    if is_loopback(host):
        return ""
    return (
        f"refused to listen on {host or 'all addresses'}: whoever reaches the explorer can view as anybody\n"
        "  hint: leave --host (or server.address) at 127.0.0.1, and reach it from elsewhere with `ssh -L`"
    )


class LocalOnly:
    """Refuses connections from other machines, and names that do not mean this one (DNS rebinding)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or _is_local(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            refusal = PlainTextResponse("this explorer answers on localhost only\n", 403)
            await refusal(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008})


def _is_local(scope: Scope) -> bool:
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    client = scope.get("client")
    return len(hosts) == 1 and _name(hosts[0]) in NAMES and (client is None or is_loopback(client[0]))


def _name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
