"""Tasks that write down each call, as one line of JSON in the file CALLS."""

import json
import os
import time

from celery import Celery
from celery.worker.consumer.delayed_delivery import DelayedDelivery
from kombu import Queue

# Beside a quorum queue it declares 28 queues and exchanges, which would outlive the test.
DelayedDelivery.include_if = lambda step, consumer: False

app = Celery("tasks", broker=os.environ["BROKER"])
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True
app.conf.broker_transport_options = {"confirm_publish": True}
if os.environ.get("QUEUE_TYPE"):
    arguments = {"x-queue-type": os.environ["QUEUE_TYPE"]}
    app.conf.task_queues = [
        Queue(os.environ["QUEUE"], routing_key=os.environ["QUEUE"], queue_arguments=arguments)
    ]


def note(task, args, kwargs):
    request = task.request
    call = {
        "task": task.name,
        "args": args,
        "kwargs": kwargs,
        "types": {name: type(value).__name__ for name, value in kwargs.items()},
        "id": request.id,
        "root_id": request.root_id,
        "correlation_id": request.correlation_id,
        "argsrepr": request.argsrepr,
        "kwargsrepr": request.kwargsrepr,
        "retries": request.retries,
        "eta": request.eta,
        "header": request.get("x-own"),
        "time": time.time(),
    }
    with open(os.environ["CALLS"], "a") as calls:
        calls.write(json.dumps(call, default=str) + "\n")


@app.task(name="shop.charge", bind=True)
def charge(self, *args, **kwargs):
    note(self, args, kwargs)


@app.task(name="shop.ship", bind=True)
def ship(self, order, *, express=False):
    note(self, [order], {"express": express})
