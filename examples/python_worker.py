"""A worker in Python: executes the tasks of the activity queue `python` through the SQL functions of PgWorkflows.
A workflow in Rust calls `ctx.call(GREET, name).queue("python")`, where `GREET` is `ActivityDef::new("greet")`.
What it writes needs `create table greetings (name text)`. Then:

    pip install "psycopg[binary]" && DATABASE_URL=postgres://… python examples/python_worker.py
"""

import os, signal, sys, threading, time
from contextlib import suppress

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

URL, QUEUE, LEASE = os.environ["DATABASE_URL"], "python", "30 seconds"


def greet(transaction, name):
    """What an activity writes is committed together with its outcome, or not at all."""
    transaction.execute("insert into greetings (name) values (%s)", [name])
    return f"Hello from Python, {name}!"


ACTIVITIES = {"greet": greet}


def execute(connection, task):
    try:
        with connection.transaction():
            result = ACTIVITIES[task["activity"]](connection, *task["input"])
            connection.execute("select pgworkflows.complete_task(%s, %s)", [task["task"], Jsonb(result)])
    except Exception as error:
        failure = [task["task"], type(error).__name__, str(error)]
        # The lease may have ended, or the run may not want the outcome any more: then this is refused as well (PW106).
        with suppress(psycopg.Error):
            connection.execute("select pgworkflows.fail_task(%s, %s, %s)", failure)


def keep(executor):
    """Renews the lease while this process lives. Once it has ended, others execute its tasks."""
    try:
        with psycopg.connect(URL, autocommit=True) as connection:
            while connection.execute("select pgworkflows.renew_executor(%s, lease => %s)", [executor, LEASE]):
                time.sleep(5)
    finally:
        os._exit(1)


signal.signal(signal.SIGTERM, lambda *_: sys.exit())
with psycopg.connect(URL, autocommit=True, row_factory=dict_row) as connection:
    open_executor = "select pgworkflows.open_executor('python', %s, %s, %s) as executor"
    executor = connection.execute(open_executor, [[QUEUE], list(ACTIVITIES), LEASE]).fetchone()["executor"]
    threading.Thread(target=keep, args=[executor], daemon=True).start()
    connection.execute("listen pgworkflows_hints")
    claim = "select * from pgworkflows.claim_tasks(%s, %s, activities => %s)"
    while not connection.closed:
        tasks = connection.execute(claim, [executor, QUEUE, list(ACTIVITIES)]).fetchall()
        for task in tasks:
            execute(connection, task)
        if not tasks:  # Until something happens, or a second has passed.
            list(connection.notifies(timeout=1, stop_after=1))
