"""Addresses as people write them in a destination's file."""

from urllib.parse import urlsplit


def web_address(url: str) -> str:
    """`url` without a final slash; raises ValueError with what is wrong with it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is no web address like https://api.example.com") from None
    if parts.scheme not in ("http", "https") or not host or any(c.isspace() for c in url):
        raise ValueError("is no web address like https://api.example.com")
    if "@" in parts.netloc:
        raise ValueError("must not carry a user or password: a secret stands under 'auth', by reference")
    if parts.fragment:
        raise ValueError("must not end in '#…': a server never sees that part")
    return url.rstrip("/") if not parts.query else url
