"""`python -m connectors.sandbox --port 8600 --var var`: serve the CRM on 127.0.0.1."""

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from connectors.protocol import DestinationStopped
from connectors.sandbox.records import Records
from connectors.sandbox.server import Crm
from connectors.sandbox.tokens import renewed, token_of
from connectors.secrets import resolve


class Connection(H11Protocol):
    """Lets an endpoint end its connection without an answer: `request.state.hang_up()`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "hang_up": transport.abort}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m connectors.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=8600, help="0 picks a free one (default: 8600)")
    parser.add_argument("--var", type=Path, default=Path("var"), help="where its files stand (default: var)")
    parser.add_argument("--token-env", metavar="NAME", help="take the token from this environment variable")
    options = parser.parse_args(arguments)
    folder = options.var / "sandbox"
    try:
        given = options.token_env
        token = resolve(f"${{env:{given}}}", options.var, os.environ) if given else token_of(folder)
    except DestinationStopped as error:
        print(error, file=sys.stderr)
        return 1
    try:
        listener = listen(options.port)
    except OSError as error:
        print(f"port {options.port} cannot be used: {error.strerror}\n  hint: try --port 0", file=sys.stderr)
        return 1
    records = Records(folder / "crm.sqlite")
    config = uvicorn.Config(
        Crm(records, token, renew=None if given else lambda: renewed(folder)).app(),
        http=Connection,
        log_level="warning",
        lifespan="off",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=1,
    )
    where = given or folder / "token"
    print(f"sandbox CRM on http://127.0.0.1:{listener.getsockname()[1]} (token in {where})", flush=True)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        records.close()
    return 0


def listen(port: int) -> socket.socket:
    """A socket on 127.0.0.1; 0 picks a free port."""
    # Named as TCP, so that asyncio switches Nagle's algorithm off: it costs 40 ms an answer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


if __name__ == "__main__":
    sys.exit(main())
