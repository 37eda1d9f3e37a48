"""What the tests ask of the Django service."""

import json
import sys
import uuid

import django
from django.db import connection, transaction


def write_events(first, last):
    """Calls the decorated function, in one transaction each."""
    from shop import charge

    for order in range(int(first), int(last) + 1):
        with transaction.atomic():
            charge(order, email="ann@example.org")


def call_later(name, arguments, stream=None, key=None):
    """Writes a call for an executor, as docs/from-django-jaiminho.md shows it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into outbox_calls (id, name, args, stream, key) values (%s, %s, %s, %s, %s)",
            [str(uuid.uuid4()), name, json.dumps(arguments), stream, key],
        )


def write_calls(first, last):
    """Writes calls of the Rust function, and after each one that is rolled back."""
    for order in range(int(first), int(last) + 1):
        arguments = {"order": order, "email": "ann@example.org"}
        with transaction.atomic():
            call_later("shop.charge", arguments, "bills", "stream:bills")
        with transaction.atomic():
            call_later("shop.charge", arguments | {"order": -order}, "bills", "stream:bills")
            transaction.set_rollback(True)


def relay():
    """The command of django-jaiminho, which needs a transaction and has none."""
    from django.core.management import call_command
    from django.db.transaction import TransactionManagementError

    try:
        call_command("events_relay", stream="bills")
    except TransactionManagementError as error:
        print(error)
    else:
        sys.exit("events_relay works: correct docs/from-django-jaiminho.md")


def drain():
    """Executes the waiting rows with django-jaiminho's relay."""
    from jaiminho.models import Event
    from jaiminho.relayer import EventRelayer

    for stream in set(Event.objects.filter(sent_at=None).values_list("stream", flat=True)):
        with transaction.atomic():
            EventRelayer().relay(stream=stream)


if __name__ == "__main__":
    django.setup()
    {f.__name__: f for f in (write_events, write_calls, relay, drain)}[sys.argv[1]](*sys.argv[2:])
