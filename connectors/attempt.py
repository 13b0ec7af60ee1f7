"""One HTTP call, and what its end means for the rows in it."""

from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from connectors.outcomes import ReadsStatuses
from connectors.pace import asked_wait
from connectors.protocol import Destination, DestinationStopped, Request, Response

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_WRONG_ADDRESS = frozenset({404, 405, 410})
_GATEWAY = frozenset({502, 504})  # a middleman speaks: the tool itself may have done the work


@dataclass(frozen=True, slots=True)
class Failed:
    """A try without a verdict on the rows.

    `ambiguous` says why the rows may have arrived all the same, or is empty. `wait` is what
    the destination asked for, in seconds. `limited`: it is the account that is too fast.
    """

    reason: str
    ambiguous: str = ""
    wait: float | None = None
    limited: bool = False


def where(url: str) -> str:
    """The address without user, query and fragment: these may carry secrets."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if host else parts.path


async def attempt(
    client: httpx.AsyncClient, destination: Destination, request: Request, url: str, now: float
) -> Response | Failed:
    """Make the call once: the answer that speaks of rows, or why there is none.

    Raises `DestinationStopped` when credentials or address are wrong.
    """
    call = f"{request.method} {where(url)}"
    try:
        answer = await client.request(
            request.method, url, content=request.body, headers=dict(request.headers)
        )
    except _NOT_SENT as error:
        return Failed(f"{call}: no connection ({_words(error)})")
    except httpx.TimeoutException as error:
        return _no_answer(f"{call}: no answer in time ({_words(error)})")
    except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.LocalProtocolError):
        # Their texts may print headers or the whole address.
        raise DestinationStopped(
            f"{call} cannot be made", hint="check the destination's url and headers"
        ) from None
    except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.DecodingError) as error:
        return _no_answer(f"{call}: the connection broke before an answer ({_words(error)})")
    headers = {name.lower(): value for name, value in answer.headers.items()}
    response = Response(answer.status_code, headers, answer.content)
    if answer.is_success or _speaks_of_rows(destination, response.status):
        return response
    return _judged(call, response, now)


def _speaks_of_rows(destination: Destination, status: int) -> bool:
    return isinstance(destination, ReadsStatuses) and status in destination.own_statuses


def _judged(call: str, response: Response, now: float) -> Response | Failed:
    status = response.status
    if status in (401, 403):
        raise DestinationStopped(
            f"{call} answered {status}: the credentials were refused",
            hint="check that the token's reference names the right one, and that it may write this object",
        )
    if 300 <= status < 400 or status in _WRONG_ADDRESS:
        raise DestinationStopped(
            f"{call} answered {status}: nothing takes rows at this address",
            hint="check the destination's url and the sync's object; redirects are not followed",
        )
    if status in (408, 429) or status >= 500:
        reason = f"{call} answered {status}"
        wait = asked_wait(response.headers, now) if status in (429, 503) else None
        ambiguous = f"{reason}: the tool behind it gave no answer" if status in _GATEWAY else ""
        return Failed(reason, ambiguous, wait, limited=status == 429)
    return response


def _no_answer(reason: str) -> Failed:
    return Failed(reason, ambiguous=reason)


def _words(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__
