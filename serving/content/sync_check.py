"""What a sync's file says of others: whom it notifies, and which sync it follows."""

import re
from collections.abc import Iterator
from zoneinfo import available_timezones

from connectors.registry import check_key, check_object, connector_names, options_model
from serving.content.model import Content
from serving.content.policy_check import unknown
from serving.content.spec import KeyPath
from serving.content.sync import AfterSync, Destination, Sync, duration
from serving.content.validate import near, typed
from serving.errors import Problem

_ADDRESS = re.compile(r"[^\s@<>,;]+@[^\s@<>,;]+")
ALERTS = "alerts"  # the object that alerts are sent to
ALERT_KEY = "sync"


def check_sync_references(content: Content) -> Iterator[Problem]:
    """Recipients that nobody can reach, schedules that cannot be read, syncs that wait for each other."""
    for sync in content.syncs.values():
        yield from _schedule(content, sync)
        yield from _notify(content, sync)
    yield from _circles(content)


def _problem(sync: Sync, path: KeyPath, message: str, hint: str = "") -> Problem:
    return Problem(sync._where.file, sync._where.line(*path), message, hint)


def _schedule(content: Content, sync: Sync) -> Iterator[Problem]:
    schedule = sync.schedule
    if schedule is None:
        return
    if isinstance(schedule.after, AfterSync):
        yield from unknown(sync, ("schedule", "after"), "sync", [schedule.after.sync], content.syncs)
    if schedule.every is not None:
        try:
            duration(schedule.every)
        except ValueError as error:
            yield _problem(sync, ("schedule", "every"), str(error))
    zone = schedule.timezone
    if zone is not None and zone not in available_timezones():
        hint = near(zone, available_timezones()) or "for example Europe/Berlin"
        yield _problem(sync, ("schedule", "timezone"), f"there is no time zone '{zone}'", hint)
    if zone is not None and schedule.cron is None:
        yield _problem(sync, ("schedule", "timezone"), "'timezone' goes with 'cron'", "leave it out")


def _circles(content: Content) -> Iterator[Problem]:
    """Each circle of syncs that wait for each other, once."""
    parents = {
        name: sync.schedule.after.sync
        for name, sync in content.syncs.items()
        if sync.schedule is not None and isinstance(sync.schedule.after, AfterSync)
    }
    for name in sorted(parents):
        way = [name]
        while (parent := parents.get(way[-1])) is not None and parent not in way:
            way.append(parent)
        if parent == name and name == min(way):
            told = " -> ".join([name, *reversed(way)])
            message = f"syncs wait for each other in a circle: {told}"
            yield _problem(content.syncs[name], ("schedule", "after"), message, "break the circle")


def _notify(content: Content, sync: Sync) -> Iterator[Problem]:
    if sync.notify is None:
        return
    path = ("notify", "to")
    for to in sync.notify.to:
        if "@" in to:
            if not _ADDRESS.fullmatch(to):
                yield _problem(sync, path, f"'{to}' is no e-mail address")
            elif content.project.mail is None:
                hint = "project.yml: mail: {host, sender, security, user, password}"
                yield _problem(sync, path, f"no mail can be sent to '{to}': there is no mail server", hint)
        elif to in content.destinations:
            yield from _takes_alerts(sync, content.destinations[to])
        else:
            yield from unknown(sync, path, "destination", [to], content.destinations)


def _takes_alerts(sync: Sync, destination: Destination) -> Iterator[Problem]:
    if destination.connector not in connector_names():
        return
    options, _ = typed(options_model(destination.connector), destination.options, destination._where)
    if options is None:
        return
    wrong = check_object(destination.connector, options, ALERTS) or check_key(
        destination.connector, options, ALERTS, (ALERT_KEY,)
    )
    if wrong is not None:
        message = f"destination '{destination.name}' takes no alerts: {wrong}"
        hint = "a webhook does; {object} in its address becomes 'alerts'"
        yield _problem(sync, ("notify", "to"), message, hint)
