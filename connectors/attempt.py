"""One HTTP call, and what its end means for the rows in it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

import httpx

from connectors.hints import asked_wait
from connectors.outcomes import ReadsLimits, ReadsStatuses
from connectors.protocol import Destination, DestinationStopped, Request, Response

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_WRONG_ADDRESS = frozenset({404, 405, 410})
_GATEWAY = frozenset({502, 504})  # a middleman speaks: the tool itself may have done the work


@dataclass(frozen=True, slots=True)
class Failed:
    """A try without a verdict on the rows.

    `ambiguous` says why the rows may have arrived all the same, or is empty. `wait` is what
    the destination asked for, in seconds. `limited`: it is the account that is too fast;
    `transient`: the tool says that the same call may succeed a little later.
    """

    reason: str
    ambiguous: str = ""
    wait: float | None = None
    limited: bool = False
    transient: bool = False


class Unauthorized(DestinationStopped):
    """The destination does not know the credentials, which may be old ones."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is ready to leave; `name` tells it without secrets."""

    name: str
    ready: httpx.Request


def where(url: str) -> str:
    """The address without user, query and fragment: these may carry secrets."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if host else parts.path


def prepare(
    client: httpx.AsyncClient, request: Request, url: str, on_leave: Callable[[bool], Awaitable[None]] | None
) -> Call:
    """Everything of a call that can be done before its turn comes.

    `on_leave` is called when the first byte is about to leave; True: a connection was made for it.
    """
    name = f"{request.method} {where(url)}"
    try:
        ready = client.build_request(
            request.method,
            _address(url),
            content=request.body,
            headers=dict(request.headers),
            extensions={"trace": _listener(on_leave)} if on_leave else None,
        )
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        raise _impossible(name) from None
    return Call(name, ready)


async def attempt(
    client: httpx.AsyncClient, destination: Destination, call: Call, now: float
) -> Response | Failed:
    """Make the call once: the answer that speaks of rows, or why there is none.

    Raises `DestinationStopped` when credentials or address are wrong.
    """
    try:
        answer = await client.send(call.ready)
    except _NOT_SENT as error:
        return Failed(f"{call.name}: no connection ({_words(error)})")
    except httpx.TimeoutException as error:
        return _no_answer(f"{call.name}: no answer in time ({_words(error)})")
    except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.LocalProtocolError):
        raise _impossible(call.name) from None
    except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.DecodingError) as error:
        return _no_answer(f"{call.name}: the connection broke before an answer ({_words(error)})")
    headers = {name.lower(): value for name, value in answer.headers.items()}
    response = Response(answer.status_code, headers, answer.content)
    if (wait := _limited(destination, response)) is not None:
        return Failed(_answered(call.name, response.status), wait=wait, limited=True)
    if answer.is_success or _speaks_of_rows(destination, response.status):
        return response
    return _judged(call.name, response, now)


@lru_cache(maxsize=32)
def _address(url: str) -> httpx.URL:
    return httpx.URL(url)


def _listener(on_leave: Callable[[bool], Awaitable[None]]) -> Callable[[str, object], Awaitable[None]]:
    connected = False

    async def listen(event: str, info: object) -> None:
        nonlocal connected
        if event == "connection.connect_tcp.started":
            connected = True
        elif event.endswith(".send_request_headers.started"):
            await on_leave(connected)

    return listen


def _impossible(name: str) -> DestinationStopped:
    # The library's texts may print headers or the whole address.
    return DestinationStopped(f"{name} cannot be made", hint="check the destination's url and headers")


def _limited(destination: Destination, response: Response) -> float | None:
    if not hasattr(destination, "limited"):  # what the next line finds out at twenty times the price
        return None
    return destination.limited(response) if isinstance(destination, ReadsLimits) else None


def _answered(name: str, status: int) -> str:
    return f"{name} answered {status}"


def _speaks_of_rows(destination: Destination, status: int) -> bool:
    return isinstance(destination, ReadsStatuses) and status in destination.own_statuses


def _judged(call: str, response: Response, now: float) -> Response | Failed:
    status = response.status
    if status in (401, 403):
        kind = Unauthorized if status == 401 else DestinationStopped
        raise kind(
            f"{call} answered {status}: the credentials were refused",
            hint="check that the token's reference names the right one, and that it may write this object",
        )
    if 300 <= status < 400 or status in _WRONG_ADDRESS:
        raise DestinationStopped(
            f"{call} answered {status}: nothing takes rows at this address",
            hint="check the destination's url and the sync's object; redirects are not followed",
        )
    if status in (408, 429) or status >= 500:
        reason = _answered(call, status)
        wait = asked_wait(response.headers, now) if status in (429, 503) else None
        ambiguous = f"{reason}: the tool behind it gave no answer" if status in _GATEWAY else ""
        return Failed(reason, ambiguous, wait, limited=status == 429)
    return response


def _no_answer(reason: str) -> Failed:
    return Failed(reason, ambiguous=reason)


def _words(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__
