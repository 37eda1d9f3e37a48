"""What the tests ask of the Django service."""

import sys

import django
from django.db import connection, transaction


def note(payload):
    """The callback: one row of effects for each message, in the transaction of its receipt."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(
                "insert into effects (note, by) values (%s, 'django')", [str(payload.body["n"])]
            )
        payload.save()


def write(destination, rows):
    """Writes messages as Django's decorator does."""
    from django_outbox_pattern.models import Published

    for n in range(int(rows)):
        Published.objects.create(destination=destination, body={"n": n}, version="v1")


def write_every_status(destination, rows):
    """Writes rows of each status, the oldest last."""
    from datetime import timedelta

    from django.utils import timezone
    from django_outbox_pattern.models import Published, Received

    now = timezone.now()
    for n in range(int(rows)):
        row = Published.objects.create(destination=destination, body={"n": n})
        status = (1, 2, -1)[n % 3]
        Published.objects.filter(pk=row.pk).update(status=status, added=now - timedelta(minutes=n))
        Received.objects.create(msg_id=f"m{n}", body={"n": n}, headers={"destination": "x"})


def write_until_told(destination):
    """Goes on writing until its standard input ends, then says how many there were."""
    import threading

    from django_outbox_pattern.models import Published

    stopped = threading.Event()

    def listen():
        sys.stdin.read()
        stopped.set()

    threading.Thread(target=listen, daemon=True).start()
    rows = 0
    while not stopped.is_set():
        Published.objects.create(destination=destination, body={"n": rows})
        rows += 1
        if rows == 1:
            print("writing", file=sys.stderr, flush=True)
    print(f"wrote {rows}", file=sys.stderr, flush=True)


def publish_once():
    """One drain, as the command `publish` makes them over and over."""
    from django_outbox_pattern.factories import factory_producer

    factory_producer().publish_message_from_database()


if __name__ == "__main__":
    django.setup()
    {f.__name__: f for f in (write, write_every_status, write_until_told, publish_once)}[
        sys.argv[1]
    ](*sys.argv[2:])
