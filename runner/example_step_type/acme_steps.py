"""Two step types: one that computes in a plain function, one that calls a service with the customer's own key."""

from __future__ import annotations

from collections.abc import Mapping

from flowgres_runner.steps import Completed, Json, Outcome, StepError, StepTask, StepType


class Shout(StepType):
    """A plain `def run` may block: it has a thread to itself."""

    type = "shout"
    config_schema: Mapping[str, Json] = {
        "type": "object",
        "properties": {
            "text": {"type": "string", "minLength": 1},
            "times": {"type": "integer", "minimum": 1, "maximum": 5, "description": "how many exclamation marks"},
        },
        "required": ["text"],
        "additionalProperties": False,
    }

    def run(self, task: StepTask) -> Outcome:
        """Answer in capitals."""
        config = task.config
        assert isinstance(config, dict)  # noqa: S101 - the schema says so
        text, times = str(config["text"]), config.get("times", 1)
        task.log.info(f"shouting {len(text)} characters")
        return Completed(text.upper() + "!" * int(str(times)))


class Customer(StepType):
    """An `async def run` shares what `start` opened; what it waits for it awaits."""

    type = "customer"
    config_schema: Mapping[str, Json] = {
        "type": "object",
        "properties": {"service": {"type": "string"}, "id": {"type": "integer"}, "token": {"type": "string"}},
        "required": ["service", "id", "token"],
        "additionalProperties": False,
    }
    secret_places = ("token",)

    async def start(self) -> None:
        """Make what all attempts share; a pool of connections, say."""
        self._known: dict[str, Json] = {}

    async def stop(self) -> None:
        """Close it again."""
        self._known.clear()

    async def run(self, task: StepTask) -> Outcome:
        """Fetch a customer, once."""
        config = task.config
        assert isinstance(config, dict)  # noqa: S101 - the schema says so
        url = f"{config['service']}/customers/{config['id']}"
        key = f"{task.tenant_id} {url}"
        if key not in self._known:
            task.log.info(f"attempt {task.attempt}: asking {url}, {task.remaining_seconds:.0f} s left")
            answer = await task.http.request(
                "GET",
                url,
                headers={"Authorization": f"Bearer {config['token']}", "Idempotency-Key": task.idempotency_key},
                expected_status=(200, 404),
            )
            if answer.status == 404:
                # Nothing that another attempt would change. A service that is busy is a HttpFailedError, which is.
                raise StepError("customer_unknown", f"no customer has the number {config['id']}", retryable=False)
            self._known[key] = answer.body
        return Completed(self._known[key])
