"""A schema registry over HTTP, small enough to say what it does; ids begin at 1, and nothing is checked."""

import asyncio
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

from aiohttp import web

Answer = tuple[int, Any]


class RegistryServer:
    """Answers as Confluent's does; `instead` may answer otherwise, or raise."""

    def __init__(self) -> None:
        self.schemas: list[dict[str, Any]] = []
        self.subjects: dict[str, list[int]] = {}
        self.misfits: list[str] = []
        self.asked: list[tuple[str, str]] = []
        self.authorizations: list[str | None] = []
        self.bodies: list[Any] = []
        self.instead: Callable[[web.Request], Awaitable[web.StreamResponse | None]] | None = None
        self.url = ""

    def put(self, subject: str, schema: str, type_: str = "AVRO", *uses: tuple[str, str]) -> int:
        """Register a schema; `uses` are names and the subjects that hold them."""
        references = [{"name": name, "subject": of, "version": 1} for name, of in uses]
        one = {"schema": schema, "references": references}
        if type_ != "AVRO":  # as Confluent's does
            one["schemaType"] = type_
        if one not in self.schemas:
            self.schemas.append(one)
        schema_id = self.schemas.index(one) + 1
        versions = self.subjects.setdefault(subject, [])
        if schema_id not in versions:
            versions.append(schema_id)
        return schema_id

    @staticmethod
    def guid(schema_id: int) -> uuid.UUID:
        """What a schema is called everywhere."""
        return uuid.uuid5(uuid.NAMESPACE_URL, str(schema_id))

    @asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[None]:
        """Answer at `url` in this block."""
        server = web.Server(self._handle, handler_cancellation=True)
        runner = web.ServerRunner(server, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
        await site.start()
        assert site._server is not None  # noqa: SLF001
        at = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]  # noqa: SLF001
        self.url = f"http{'s' * bool(tls)}://127.0.0.1:{at}"
        try:
            yield
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.BaseRequest)
        self.asked.append((request.method, request.raw_path))
        self.authorizations.append(request.headers.get("Authorization"))
        body = await request.json() if request.can_read_body else None
        self.bodies.append(body)
        if self.instead and (answer := await self.instead(request)) is not None:  # type: ignore[arg-type]
            return answer
        path = [unquote(part) for part in request.raw_path.partition("?")[0].strip("/").split("/")]
        status, content = self._answer(request.method, path, body)
        return web.json_response(
            content, status=status, content_type="application/vnd.schemaregistry.v1+json"
        )

    def _answer(self, method: str, path: list[str], body: Any) -> Answer:  # noqa: PLR0911
        match method, path:
            case "GET", ["schemas", "types"]:
                return 200, ["JSON", "AVRO"]
            case "GET", ["schemas", "ids", number]:
                return self._by_id(int(number))
            case "GET", ["schemas", "guids", guid]:
                found = [n for n in range(1, len(self.schemas) + 1) if str(self.guid(n)) == guid]
                return self._by_id(found[0] if found else 0)
            case "GET", ["subjects", subject, "versions", version]:
                return self._version(subject, version)
            case "POST", ["subjects", subject, "versions"]:
                return 200, {"id": self.put(subject, body["schema"], body["schemaType"])}
            case "POST", ["subjects", subject]:
                return self._look_up(subject, body["schema"])
            case "POST", ["compatibility", "subjects", subject, "versions", "latest"]:
                if subject not in self.subjects:
                    return 404, {"error_code": 40401, "message": "Subject not found"}
                return 200, {"is_compatible": not self.misfits, "messages": self.misfits}
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}

    def _by_id(self, number: int) -> Answer:
        if 0 < number <= len(self.schemas):
            return 200, self.schemas[number - 1]
        return 404, {"error_code": 40403, "message": f"Schema {number} not found"}

    def _version(self, subject: str, version: str) -> Answer:
        ids = self.subjects.get(subject)
        if ids is None:
            return 404, {"error_code": 40401, "message": "Subject not found"}
        number = ids[-1] if version == "latest" else ids[int(version) - 1]
        return 200, {"subject": subject, "id": number, "version": 1, **self.schemas[number - 1]}

    def _look_up(self, subject: str, schema: str) -> Answer:
        if subject not in self.subjects:
            return 404, {"error_code": 40401, "message": "Subject not found"}
        for number in self.subjects[subject]:
            if self.schemas[number - 1]["schema"] == schema:
                return 200, {"id": number, "subject": subject, "version": 1}
        return 404, {"error_code": 40403, "message": "Schema not found"}


def answering(
    status: int, text: str = "", headers: dict[str, str] | None = None
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Answers everything the same."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, headers=headers)

    return answer


async def never(_request: web.Request) -> web.StreamResponse:
    """Never answers."""
    await asyncio.Event().wait()
    raise AssertionError
