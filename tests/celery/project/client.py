"""Calls the tasks that standard input names, one JSON document a line; prints the id of each."""

import os
import sys

from kombu.utils.json import loads

from tasks import app

for line in sys.stdin:
    # As kombu reads it: a document may hold Python's own types.
    call = loads(line)
    sent = app.send_task(
        call["task"],
        args=call.get("args"),
        kwargs=call.get("kwargs"),
        queue=os.environ["QUEUE"],
        **call.get("options", {}),
    )
    print(sent.id)
