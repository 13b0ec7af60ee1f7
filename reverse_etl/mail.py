"""E-mail by SMTP: one message to one address."""

import os
import smtplib
import socket
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from pathlib import Path

from connectors.secrets import Secret, SecretMissing, resolve
from reverse_etl.errors import SyncError
from serving.content.model import Mail

SECONDS = 15.0  # for each answer of the mail server


class MailFailed(SyncError):
    """The mail server did not take the message; another try may help."""


def send_mail(
    settings: Mail,
    to: str,
    subject: str,
    text: str,
    *,
    var: Path,
    environ: Mapping[str, str] = os.environ,
    context: ssl.SSLContext | None = None,
    seconds: float = SECONDS,
) -> None:
    """Hand the message over; MailFailed with the server's words where it does not take it.

    Nothing is said to a server that cannot prove who it is, where `security` asks for TLS.
    A relative `${file:…}` password stands under `var`.
    """
    where = f"mail server {settings.host}:{settings.port_used}"
    try:
        password = None if settings.password is None else resolve(settings.password, var, environ)
        message = _message(settings.sender, to, subject, text)
        with _connected(settings, context or ssl.create_default_context(), seconds) as server:
            if settings.user is not None and password is not None:
                _log_in(server, settings.user, password)
            server.send_message(message)
    except SecretMissing as missing:
        raise MailFailed(missing.problem, hint=missing.hint) from None
    except ssl.SSLError as error:
        raise MailFailed(f"{where}: no safe connection: {error.reason or error}") from None
    except smtplib.SMTPRecipientsRefused as error:
        raise MailFailed(f"{where} refused {to}: {_words(next(iter(error.recipients.values())))}") from None
    except smtplib.SMTPResponseException as error:
        raise MailFailed(f"{where} said {_words((error.smtp_code, error.smtp_error))}") from None
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise MailFailed(f"{where}: {error or type(error).__name__}") from None


def _message(sender: str, to: str, subject: str, text: str) -> EmailMessage:
    message = EmailMessage(policy=SMTP.clone(cte_type="7bit"))  # not every server takes 8-bit text
    message["From"] = sender
    message["To"] = to
    message["Subject"] = " ".join(subject.split())
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2].strip("> ") or None)
    message["Auto-Submitted"] = "auto-generated"  # nobody's holiday reply is wanted
    message.set_content(text)
    return message


def _connected(settings: Mail, context: ssl.SSLContext, seconds: float) -> smtplib.SMTP:
    own = socket.gethostname()  # smtplib would ask the network for a longer name
    if settings.security == "tls":
        return smtplib.SMTP_SSL(settings.host, settings.port_used, own, timeout=seconds, context=context)
    server = smtplib.SMTP(settings.host, settings.port_used, own, timeout=seconds)
    if settings.security == "starttls":
        try:
            server.starttls(context=context)  # raises where the server does not offer it
        except (smtplib.SMTPException, OSError):
            server.close()
            raise
    return server


def _log_in(server: smtplib.SMTP, user: str, password: Secret) -> None:
    server.login(user, password.reveal())


def _words(answer: tuple[int, bytes | str]) -> str:
    code, text = answer
    told = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"{code} {' '.join(told.split())[:300]}"
