"""A worker in Python, of what comes with it: it waits at the front, and tells PostgREST what came of a task."""

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

API, FRONT, KEY = (os.environ[f"FLOWGRES_{name}"] for name in ("API_URL", "FRONT_URL", "API_KEY"))
ME = f"python-{os.getpid()}"


def ask(url: str, **body: Any) -> Any:
    """POST a body, or GET without one."""
    headers = {"X-API-Key": KEY, "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)


while True:
    try:
        query = urllib.parse.urlencode({"worker": ME, "wait": 20})
        for task in ask(f"{FRONT}/tasks/print?{query}"):
            mine = {"task_id": task["task_id"], "token": task["token"]}
            try:
                print(f"{ME} prints: {task['payload']['text']}", flush=True)
                output = {"pages": 1, "by": ME}
            except Exception as error:
                ask(f"{API}/rpc/fail_task", **mine, error=str(error) or repr(error))
            else:
                ask(f"{API}/rpc/complete_task", **mine, output=output)
    except urllib.error.HTTPError as error:  # 409: somebody else has the task by now
        print(error.read().decode(), flush=True)
        if error.code != 409:
            time.sleep(1)
    except OSError:
        time.sleep(1)
