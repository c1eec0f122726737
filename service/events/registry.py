"""A schema registry with the interface of Confluent's: Confluent's own, Apicurio, Karapace, Redpanda.

Each question is a connection of its own: there is one for each schema and process, so there is nothing to
keep open, to close, or to find broken after an outage.
Source: docs.confluent.io, Schema Registry API reference; Apicurio Registry 2.6.13 under /apis/ccompat/v7.
"""

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import UUID

from service.errors import Answered, ConfigurationError, NotNow, Unreachable
from service.events.avro import MISSING_EXTRA
from service.events.framing import SchemaId
from service.events.schemas import FORMATS, Reference, RegisteredSchema, UnknownSchema

ANSWER_SECONDS = 10.0
"""For one answer. Apicurio 3.3.3 was seen never to answer at all where it logs a 404."""

MOST_BYTES = 8 << 20
"""Of one answer."""

MOST_REFERENCES = 200
"""That one schema may use, those of its references included."""

_AT_ONCE = 8

SCHEMA_UNKNOWN, SUBJECT_UNKNOWN, VERSION_UNKNOWN = 40403, 40401, 40402
_UNKNOWN = frozenset({SCHEMA_UNKNOWN, SUBJECT_UNKNOWN, VERSION_UNKNOWN})
"""What a registry itself says. The 404 of a proxy, or of another kind of server, has no such code."""

TYPES = {format_: type_ for type_, format_ in FORMATS.items()}
"""What registries call the formats of topics."""


@dataclass(frozen=True, slots=True)
class RegistryAccess:
    """Where a registry is and how to log in; `authorization` gives a header's text, or `""`.

    It is asked each time, so that a secret in a file may change.
    """

    url: str
    authorization: Callable[[], str] = field(default=lambda: "", repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class NoRegistry:
    """Implements `SchemaSource` where there is none."""

    async def schema(self, schema_id: SchemaId) -> RegisteredSchema:
        """See `SchemaSource.schema`.

        Raises:
            ConfigurationError: Always.
        """
        raise ConfigurationError(f"schema {schema_id} is in a schema registry; set TURNOUT_REGISTRY__URL")


class _Answer(NamedTuple):
    status: int
    content: Any

    @property
    def code(self) -> int:
        """The registry's own code of an error; 0 without one."""
        code = self.content.get("error_code") if isinstance(self.content, Mapping) else None
        return code if isinstance(code, int) else 0

    @property
    def text(self) -> str:
        """What the registry says of an error, on one line."""
        text = self.content.get("message") if isinstance(self.content, Mapping) else None
        return " ".join(str(text).split())[:500] if text else f"HTTP {self.status}"


class Registry:
    """Asks a schema registry; implements `SchemaSource`.

    Raises:
        ConfigurationError: The extra `registry` is not installed, or a TLS file cannot be used.
    """

    def __init__(self, access: RegistryAccess) -> None:
        try:
            import aiohttp
            import fastavro  # noqa: F401 - said here, not with the first record
        except ImportError as error:
            raise ConfigurationError(MISSING_EXTRA) from error
        self._client = aiohttp
        self._access = access
        self._url = access.url.rstrip("/")
        self._tls = _tls(access) if self._url.startswith("https:") else None
        self._gate = asyncio.Semaphore(_AT_ONCE)

    def __str__(self) -> str:
        return f"the schema registry at {self._url}"

    async def check(self) -> None:
        """See that it is there and lets us in.

        Raises:
            Unreachable: It does not answer; the text says why.
            ConfigurationError: What answers is no registry, or does not let us in.
        """
        try:
            answer = await self._ask("GET", "/schemas/types")
        except NotNow as error:
            raise Unreachable(str(error)) from error
        if answer.status in {401, 403}:
            raise ConfigurationError(
                f"{self} does not let us in (HTTP {answer.status}); set TURNOUT_REGISTRY__USERNAME and "
                "TURNOUT_REGISTRY__PASSWORD_FILE, or TURNOUT_REGISTRY__TOKEN_FILE"
            )
        if answer.status == 404:
            raise ConfigurationError(
                f"TURNOUT_REGISTRY__URL={self._url}: what answers there is no registry with Confluent's "
                "interface; that of Apicurio ends with /apis/ccompat/v7"
            )
        if answer.status != 200:
            raise Unreachable(f"{self} answers HTTP {answer.status}: {answer.text}")

    async def schema(self, schema_id: SchemaId) -> RegisteredSchema:
        """See `SchemaSource.schema`."""
        kind = "guids" if isinstance(schema_id, UUID) else "ids"
        return await self._whole(await self._found(f"/schemas/{kind}/{schema_id}"))

    async def latest(self, subject: str) -> tuple[int, RegisteredSchema]:
        """The newest schema of `subject`, and its id.

        Raises:
            UnknownSchema: It has none.
            NotNow: The registry does not answer, or not as one does.
        """
        content = await self._found(f"/subjects/{_quoted(subject)}/versions/latest")
        return self._id_in(content), await self._whole(content)

    async def id_in_subject(self, subject: str, type_: str, text: str) -> int:
        """The id of the schema `text` in `subject`.

        Raises:
            UnknownSchema: It is not there.
            NotNow: See `latest`.
            ConfigurationError: The registry calls it no schema.
        """
        answer = await self._ask("POST", f"/subjects/{_quoted(subject)}", _body(type_, text))
        self._refuse(answer, subject)
        return self._id_in(self._content(answer, subject))

    async def register(self, subject: str, type_: str, text: str) -> int:
        """Register the schema `text` as the newest of `subject`, unless it is there; its id.

        Raises:
            NotNow: See `latest`.
            ConfigurationError: The registry does not take it; the text says what does not fit.
        """
        answer = await self._ask("POST", f"/subjects/{_quoted(subject)}/versions", _body(type_, text))
        if answer.status == 409:
            # What others register at the same moment Apicurio calls a conflict, too.
            with suppress(UnknownSchema):
                return await self.id_in_subject(subject, type_, text)
        self._refuse(answer, subject)
        return self._id_in(self._content(answer, subject))

    async def misfits(self, subject: str, type_: str, text: str) -> Sequence[str]:
        """What of the schema `text` does not fit the newest of `subject`, by the subject's own rule.

        Raises:
            NotNow: See `latest`.
            ConfigurationError: The registry calls it no schema.
        """
        path = f"/compatibility/subjects/{_quoted(subject)}/versions/latest?verbose=true"
        answer = await self._ask("POST", path, _body(type_, text))
        if answer.status == 404 and answer.code in _UNKNOWN:
            return []  # the first of its subject fits
        self._refuse(answer, subject)
        content = self._content(answer, subject)
        if content.get("is_compatible") is not False:
            return []
        # Confluent's says `messages`, Apicurio `reason`.
        said = content.get("messages") or [content.get("reason") or "it says no more"]
        return [" ".join(str(one).split())[:500] for one in said]

    def _refuse(self, answer: _Answer, subject: str) -> None:
        if answer.status in {401, 403, 409, 422}:
            raise ConfigurationError(f"{self} refuses the schema for subject {subject}: {answer.text}")

    async def _whole(self, content: Mapping[str, Any]) -> RegisteredSchema:
        references: dict[str, Reference] = {}
        await self._collect(content, references, set())
        type_ = str(content.get("schemaType") or "AVRO")
        return RegisteredSchema(type_, str(content.get("schema")), tuple(references.values()))

    async def _collect(self, content: Mapping[str, Any], into: dict[str, Reference], begun: set[str]) -> None:
        """Fetch what a schema uses, each after what it uses itself."""
        for one in content.get("references") or ():
            name, subject, version = (one.get(key) for key in ("name", "subject", "version"))
            if not isinstance(name, str) or name in begun:
                continue
            begun.add(name)
            if len(begun) > MOST_REFERENCES:
                raise UnknownSchema(f"it uses more than {MOST_REFERENCES} other schemas")
            used = await self._found(f"/subjects/{_quoted(str(subject))}/versions/{version}")
            await self._collect(used, into, begun)
            into[name] = Reference(name, str(used.get("schema")))

    async def _found(self, path: str) -> Mapping[str, Any]:
        return self._content(await self._ask("GET", path), path)

    def _content(self, answer: _Answer, what: str) -> Mapping[str, Any]:
        if answer.status == 404 and answer.code in _UNKNOWN:
            raise UnknownSchema(answer.text)
        if answer.status != 200 or not isinstance(answer.content, Mapping):
            raise NotNow(
                f"{self} answers HTTP {answer.status} to {what}: {answer.text}", of=Answered.REGISTRY
            )
        return answer.content

    def _id_in(self, content: Mapping[str, Any]) -> int:
        number = content.get("id")
        if type(number) is not int:
            raise NotNow(f"{self} says no id of a schema", of=Answered.REGISTRY)
        return number

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> _Answer:
        headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
        try:
            if authorization := self._access.authorization():
                headers["Authorization"] = authorization
        except ConfigurationError as error:
            raise NotNow(str(error), of=Answered.REGISTRY) from error  # it could be read at the start
        client = self._client
        try:
            async with (
                self._gate,
                client.ClientSession(timeout=client.ClientTimeout(total=ANSWER_SECONDS)) as session,
                session.request(
                    method,
                    self._url + path,
                    headers=headers | ({"Content-Type": _JSON} if body else {}),
                    data=json.dumps(body).encode() if body else None,
                    ssl=self._tls or True,
                    allow_redirects=False,
                ) as response,
            ):
                raw = await response.content.read(MOST_BYTES)
                while not response.content.at_eof() and len(raw) < MOST_BYTES:
                    raw += await response.content.read(MOST_BYTES)
                return _Answer(response.status, _parsed(raw))
        except TimeoutError as error:
            late = f"{self} does not answer within {ANSWER_SECONDS:.0f} s"
            raise NotNow(late, of=Answered.REGISTRY) from error
        except (client.ClientError, OSError) as error:
            away = f"{self} does not answer: {error or type(error).__name__}"
            raise NotNow(away, of=Answered.REGISTRY) from error


_JSON = "application/vnd.schemaregistry.v1+json"


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _body(type_: str, text: str) -> Mapping[str, Any]:
    return {"schema": text, "schemaType": type_}


def _quoted(subject: str) -> str:
    return quote(subject, safe="")


def _tls(access: RegistryAccess) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=access.ca_file)
        if access.cert_file:
            context.load_cert_chain(access.cert_file, access.key_file)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(f"a TURNOUT_REGISTRY__TLS_… file cannot be used: {reason}") from error
    return context
