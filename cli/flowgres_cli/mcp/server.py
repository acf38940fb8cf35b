"""The tools as the protocol knows them: names, arguments, hints of what they change, errors that a model can read."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from flowgres_cli import __version__
from flowgres_cli.client import Client
from flowgres_cli.errors import CliError
from flowgres_cli.mcp.instances import MOST_HISTORY, MOST_LISTED, InstanceTools
from flowgres_cli.mcp.tools import MOST_EVENTS, MOST_WAIT_SECONDS, Tools, checked_execution_id, checked_instance_id

P = ParamSpec("P")
R = TypeVar("R")
Json = dict[str, Any]

_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_STARTS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)
_ENDS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)
_INSTRUCTIONS = """\
flowgres runs workflows: files of steps in YAML or JSON. validate_workflow checks a definition and changes nothing.
run_workflow starts an execution of a workflow that is there and waits for its end; get_execution and get_logs tell what
became of it, and why what it waits for. A state machine is a workflow with states, through which entities move as
instances: get_instance says where one stands and where it may go, transition_instance moves it. The reference of the
language is at /llms.txt of the front. An error has a stable code, a sentence and a hint."""

ExecutionId = Annotated[str, Field(description="The id of an execution, as run_workflow answers it")]
InstanceId = Annotated[str, Field(description="The id of an instance, as list_instances and start_instance answer it")]


def make_server(client: Client) -> MCPServer[Any]:
    """The server on one client; whoever calls its tools acts as that client's caller."""
    tools = Tools(client)
    server: MCPServer[Any] = MCPServer("flowgres", version=__version__, instructions=_INSTRUCTIONS, log_level="WARNING")

    @server.tool(title="List workflows", annotations=_READS)
    @_told
    def list_workflows() -> list[Json]:
        """List the workflows that are there, by name, with their status and versions."""
        return tools.list_workflows()

    @server.tool(title="Validate a definition", annotations=_READS)
    @_told
    def validate_workflow(
        definition: Annotated[str, Field(description="The whole definition, as a text in YAML or JSON")],
    ) -> Json:
        """Check a definition, and change nothing: {valid, problems}, each with path, line, column, code and hint."""
        return tools.validate_workflow(definition)

    @server.tool(title="Run a workflow", annotations=_STARTS)
    @_told
    def run_workflow(
        workflow: Annotated[str, Field(description="Name or id")],
        input: Annotated[Json, Field(description="The input of the workflow")] = {},  # noqa: B006
        idempotency_key: Annotated[
            str | None,
            Field(description="The same key starts the same execution only once, however often"),
        ] = None,
        wait_seconds: Annotated[
            float, Field(ge=0, le=MOST_WAIT_SECONDS, description="Wait for its end no longer than this")
        ] = 30,
    ) -> Json:
        """Start an execution, and answer it with all its steps once it has ended, or as it is when the time is over."""
        return tools.run_workflow(workflow, input, idempotency_key=idempotency_key, wait_seconds=wait_seconds)

    @server.tool(title="Get an execution", annotations=_READS)
    @_told
    def get_execution(execution_id: ExecutionId) -> Json:
        """Get an execution: status, output, error, and the same of every step."""
        return tools.get_execution(checked_execution_id(execution_id))

    @server.tool(title="Ask why an execution does not move", annotations=_READS)
    @_told
    def why(execution_id: ExecutionId) -> list[Json]:
        """Ask why an execution does not move: of each step the reason, since when, and the call that helps."""
        return tools.why(checked_execution_id(execution_id))

    @server.tool(title="Get the logs of an execution", annotations=_READS)
    @_told
    def get_logs(
        execution_id: ExecutionId,
        after: Annotated[int, Field(ge=0, description="Only events behind this number (seq)")] = 0,
        limit: Annotated[int, Field(ge=1, le=MOST_EVENTS)] = 200,
    ) -> list[Json]:
        """Get what an execution did and logged: events in order, with seq, at, type, step, level and message."""
        return tools.get_logs(checked_execution_id(execution_id), after=after, limit=limit)

    @server.tool(title="List approvals", annotations=_READS)
    @_told
    def list_approvals(
        execution_id: Annotated[str | None, Field(description="Only of this execution")] = None,
    ) -> list[Json]:
        """List what steps ask people to decide, the newest first: title, message, form. Deciding is for people."""
        return tools.list_approvals(None if execution_id is None else checked_execution_id(execution_id))

    @server.tool(title="Cancel an execution", annotations=_ENDS)
    @_told
    def cancel_execution(
        execution_id: ExecutionId, reason: Annotated[str | None, Field(description="Why; it is kept")] = None
    ) -> Json:
        """Cancel an execution and everything below it; no new step starts."""
        return tools.cancel_execution(checked_execution_id(execution_id), reason=reason)

    @server.tool(title="Retry an execution", annotations=_STARTS)
    @_told
    def retry_execution(
        execution_id: ExecutionId,
        reason: Annotated[str | None, Field(description="Why; it is kept")] = None,
        version: Annotated[
            int | None, Field(ge=1, description="Go on with this version; what has completed is to be the same there")
        ] = None,
    ) -> Json:
        """Retry an execution that failed or was cancelled, from the steps that failed; what has completed stays."""
        return tools.retry_execution(checked_execution_id(execution_id), reason=reason, version=version)

    _add_instance_tools(server, InstanceTools(client))
    return server


def _add_instance_tools(server: MCPServer[Any], tools: InstanceTools) -> None:
    """Those of state machines."""

    @server.tool(title="List instances of state machines", annotations=_READS)
    @_told
    def list_instances(
        workflow: Annotated[str | None, Field(description="Only of this machine, by name")] = None,
        state: Annotated[str | None, Field(description="Only in this state")] = None,
        status: Annotated[
            Literal["active", "completed"] | None, Field(description="completed: in a final state")
        ] = None,
        entity_table: Annotated[str | None, Field(description="Only of entities of this table")] = None,
        entity_id: Annotated[str | None, Field(description="Only of this entity")] = None,
        limit: Annotated[int, Field(ge=1, le=MOST_LISTED)] = 50,
    ) -> list[Json]:
        """List instances, the one that moved last first: where entities stand in their machines."""
        given = {
            "workflow_name": workflow,
            "current_state": state,
            "status": status,
            "entity_table": entity_table,
            "entity_id": entity_id,
        }
        return tools.find(given, limit=limit)

    @server.tool(title="Get an instance", annotations=_READS)
    @_told
    def get_instance(instance_id: InstanceId) -> Json:
        """Get an instance: where it stands, where it may go and what each way needs, and what it has started."""
        return tools.get(checked_instance_id(instance_id))

    @server.tool(title="Start an instance", annotations=_STARTS)
    @_told
    def start_instance(
        workflow: Annotated[str, Field(description="Name of the state machine")],
        entity_table: Annotated[str, Field(description="Where the entity lives, in its owner's words")],
        entity_id: Annotated[str, Field(description="Which entity it is")],
        metadata: Annotated[Json, Field(description="What is known of the entity; guards may ask for it")] = {},  # noqa: B006
    ) -> Json:
        """Start a state machine for an entity, in its initial state. An entity has one active instance of a machine."""
        return tools.start(workflow, entity_table, entity_id, metadata=metadata)

    @server.tool(title="Move an instance", annotations=_STARTS)
    @_told
    def transition_instance(
        instance_id: InstanceId,
        to_state: Annotated[str, Field(description="One of those that get_instance lists as transitions")],
        executed_by: Annotated[str | None, Field(description="Who does it, for the history")] = None,
        metadata: Annotated[Json | None, Field(description="Data of the transition: fields that it requires")] = None,
        context: Annotated[Json | None, Field(description="Circumstances, which guards see as well")] = None,
        notes: Annotated[str | None, Field(description="A remark for the history")] = None,
    ) -> Json:
        """Move an instance to a state, which may start an execution; refused where no way leads there."""
        return tools.move(
            checked_instance_id(instance_id),
            to_state,
            executed_by=executed_by,
            metadata=metadata,
            context=context,
            notes=notes,
        )

    @server.tool(title="Get the history of an instance", annotations=_READS)
    @_told
    def get_instance_history(
        instance_id: InstanceId, limit: Annotated[int, Field(ge=1, le=MOST_HISTORY)] = 100
    ) -> list[Json]:
        """Get what an instance went through, newest first: from and to which state, when, by whom, with what."""
        return tools.history(checked_instance_id(instance_id), limit=limit)


def _told(tool: Callable[P, R]) -> Callable[P, R]:
    """Turn a failure into an error of the tool: {code, message, hint} as JSON, for the model to act on."""

    @functools.wraps(tool)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return tool(*args, **kwargs)
        except CliError as error:
            problem = {"code": error.code, "message": error.message, "hint": error.hint}
            raise ToolError(json.dumps(problem, ensure_ascii=False)) from error

    return told
