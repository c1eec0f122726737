"""Settings: read once from the environment, `TURNOUT_…`, nested with `__`; unknown names are refused."""

import difflib
import os
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from service.addresses import is_this_machine
from service.api.keys import ALGORITHMS
from service.durations import parse_duration
from service.errors import ConfigurationError
from service.secret_files import text_of

PREFIX = "TURNOUT_"

_GROUP = re.compile(r"[A-Za-z0-9._-]{1,200}")
_LABEL = r"[A-Za-z0-9_-]{1,63}"
_ADDRESS = re.compile(rf"({_LABEL}(\.{_LABEL})*\.?|\[[0-9A-Fa-f:.]+\]):[0-9]{{1,5}}", re.ASCII)
_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")


def _duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    duration = parse_duration(value)
    if duration is None:
        msg = "is no time span; write a whole number with a unit, like 30s, 15m, 2h, or PT30S"
        raise ValueError(msg)
    return duration


Duration = Annotated[timedelta, BeforeValidator(_duration)]


class _Part(BaseModel):
    # What stands below a setting says what it means, here and in docs/reference.md.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _address(value: str, *, example: str) -> str:
    if not _ADDRESS.fullmatch(value) or int(value.rpartition(":")[2]) >= 1 << 16:
        msg = f"{value!r} is not host:port; write for example {example}"
        raise ValueError(msg)
    return value


def _host_of(url: str) -> str:
    host = url.partition("://")[2].partition("/")[0]
    return host if re.search(r":[0-9]+$", host) else f"{host}:80"


class KafkaSettings(_Part):
    """The cluster, and how to log in."""

    bootstrap_servers: str = "127.0.0.1:9092"
    """`host:port`, several with commas."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How to log in."""
    allow_insecure: bool = False
    """Take a way to brokers, or to the token endpoint, that is not encrypted, also beyond this machine."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    """Needed with `SASL_…`."""
    username: str | None = None
    """Needed with `SASL_…`, but for `OAUTHBEARER`."""
    password: SecretStr | None = None
    """Better in a file."""
    password_file: Path | None = None
    """The file that holds the password; read anew when it has changed."""
    token_file: Path | None = None
    """For `OAUTHBEARER`: a file with a token that another process keeps fresh; read anew for each login."""
    token_url: str = ""
    """In its place: where tokens are given to clients (OAuth 2.0, client credentials)."""
    client_id: str = ""
    """Who we are at `token_url`."""
    client_secret: SecretStr | None = None
    """Our secret there; better in a file."""
    client_secret_file: Path | None = None
    """The file that holds it; read anew for each token."""
    token_scope: str = ""
    """What tokens of `token_url` are to be good for, where it wants to be told."""
    token_ca_file: Path | None = None
    """Who vouches for `token_url`; absent, the authorities of the system."""
    tls_ca_file: Path | None = None
    """Who is trusted; absent, those whom the system trusts."""
    tls_cert_file: Path | None = None
    """Our certificate, where the brokers ask for one; read anew when it has changed."""
    tls_key_file: Path | None = None
    """Its key, if it is in a file of its own."""
    group_instance_id: str | None = None
    """A static member: restarted, it goes on without a rebalance."""
    session_timeout: Duration = timedelta(seconds=45)
    """After how long without a sign of life others take over a bridge's partitions."""

    @field_validator("bootstrap_servers")
    @classmethod
    def _addresses(cls, value: str) -> str:
        for address in value.split(","):
            _address(address.strip(), example="127.0.0.1:9092")
        return value

    @field_validator("token_url")
    @classmethod
    def _http(cls, value: str) -> str:
        if value and not _URL.fullmatch(value):
            msg = "is no address of a token endpoint; write for example https://login.shop/oauth2/token"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _whole(self) -> "KafkaSettings":
        problems = (*self._login_problems(), *self._tls_problems(), *self._insecurities())
        if problems:
            raise ValueError(problems[0])
        return self

    def _login_problems(self) -> Iterator[str]:
        if self.password and self.password_file:
            yield "give password or password_file, not both"
        password = self.password or self.password_file
        by_password = self.username or password
        secret = self.client_secret or self.client_secret_file
        by_token = self.token_file or self.token_url or self.client_id or secret
        if not self.security_protocol.startswith("SASL"):
            if self.sasl_mechanism or by_password or by_token:
                yield (
                    "there are credentials to log in with, and no login; set security_protocol to SASL_SSL, "
                    "or take them away"
                )
        elif self.sasl_mechanism == "OAUTHBEARER":
            if by_password:
                yield "OAUTHBEARER takes no username and password; give token_file, or token_url"
            yield from self._token_problems()
        else:
            if by_token:
                yield "token_file, token_url and client_… are for OAUTHBEARER; set sasl_mechanism to that"
            if not (self.sasl_mechanism and self.username and password):
                yield "SASL needs sasl_mechanism, username, and password or password_file"

    def _token_problems(self) -> Iterator[str]:
        if self.client_secret and self.client_secret_file:
            yield "give client_secret or client_secret_file, not both"
        if bool(self.token_file) == bool(self.token_url):
            yield "OAUTHBEARER needs token_file or token_url, and not both"
        if self.token_url and not (self.client_id and (self.client_secret or self.client_secret_file)):
            yield "token_url needs client_id, and client_secret or client_secret_file"

    def _tls_problems(self) -> Iterator[str]:
        if self.tls_key_file and not self.tls_cert_file:
            yield "tls_key_file needs tls_cert_file"
        if (self.tls_ca_file or self.tls_cert_file) and not self.security_protocol.endswith("SSL"):
            yield "tls_… files are for TLS; set security_protocol to SSL or SASL_SSL"

    def _insecurities(self) -> Iterator[str]:
        if self.allow_insecure:
            return
        cure = "or set TURNOUT_KAFKA__ALLOW_INSECURE=true in a network that you trust"
        if not self.security_protocol.endswith("SSL"):
            for address in self.bootstrap_servers.split(","):
                if not is_this_machine(address):
                    yield (
                        f"{self.security_protocol} to {address.strip()} is not encrypted; set "
                        f"security_protocol to SSL or SASL_SSL, {cure}"
                    )
        if self.token_url.startswith("http://") and not is_this_machine(_host_of(self.token_url)):
            yield f"token_url is not encrypted, and the client's secret goes there; use https, {cure}"

    def secret_files(self) -> Iterator[tuple[str, Path | None]]:
        """The files that others must not read, with their settings."""
        yield "TURNOUT_KAFKA__PASSWORD_FILE", self.password_file
        yield "TURNOUT_KAFKA__TOKEN_FILE", self.token_file
        yield "TURNOUT_KAFKA__CLIENT_SECRET_FILE", self.client_secret_file
        yield "TURNOUT_KAFKA__TLS_KEY_FILE", self.tls_key_file or self.tls_cert_file


class _Secrets(_Part):
    """A secret, or a file with several, one per line: the first signs, what any of them signed is taken."""

    secret: SecretStr | None = None
    """The secret itself; better in a file."""
    secret_file: Path | None = None
    """The file that holds it, or several, one per line: the first signs, all are accepted."""

    @model_validator(mode="after")
    def _one_secret(self) -> "_Secrets":
        if self.secret and self.secret_file:
            msg = "give secret or secret_file, not both"
            raise ValueError(msg)
        return self

    def secrets(self) -> Sequence[str]:
        """All that are accepted, the newest first; empty where none was given.

        Raises:
            ConfigurationError: The file cannot be read, or holds none.
        """
        if self.secret_file is None:
            return [self.secret.get_secret_value()] if self.secret else []
        setting = f"TURNOUT_{type(self).__name__.removesuffix('Settings').upper()}__SECRET_FILE"
        lines = [line.strip() for line in text_of(self.secret_file, setting).splitlines() if line.strip()]
        if not lines:
            msg = f"{setting}={self.secret_file} is empty; write a secret into it"
            raise ConfigurationError(msg)
        return lines


class CallsSettings(_Secrets):
    """The secrets that sign the correlations of calls: the same for bridges and the workers that call."""


class TemporalSettings(_Part):
    """What Temporal's own environment (`TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, …) does not say."""

    api_key_file: Path | None = None
    """A file with the API key, in place of `TEMPORAL_API_KEY`; read anew when it has changed."""
    allow_insecure: bool = False
    """Take a way to Temporal that is not encrypted, also beyond this machine."""
    ui_url: str = ""
    """Where the Temporal UI is: links on log lines and in the details of workflows."""
    trace_url: str = ""
    """Where traces are shown, with `{trace_id}`."""
    runbook_url: str = ""
    """Where the runbook of a route is, with `{route}`."""
    search_attributes: bool = True
    """Whether starts set the four below; they must be registered."""
    attribute_route: str = "TurnoutRoute"
    """The search attribute that names the route."""
    attribute_event_type: str = "TurnoutEventType"
    """The one that holds the type of the event."""
    attribute_event_id: str = "TurnoutEventId"
    """The one that holds its id."""
    attribute_record: str = "TurnoutRecord"
    """The one that says where its record lies."""


class IntakeSettings(_Part):
    """How much is taken in at once, and how records are limited; sizes in bytes."""

    concurrency: int = Field(64, ge=1)
    """How many commands are on their way at once."""
    window_records: int = Field(2_000, ge=1)
    """How many records are in flight at most."""
    window_bytes: int = Field(64 << 20, ge=1)
    """How many bytes of records are in flight at most."""
    partition_records: int = Field(500, ge=1)
    """How many records of one partition are in flight at most."""
    value_bytes: int = Field(1 << 20, ge=1)
    """How large a value may be."""
    value_depth: int = Field(64, ge=1)
    """How deep a value may be nested."""
    drain: Duration = timedelta(seconds=20)
    """How long what is on its way has to end after SIGTERM."""


class WorkerSettings(_Part):
    """Which workflows and activities our worker runs, and how many at once.

    `modules` and `pass_through` are names of Python packages, separated by commas.
    """

    task_queue: str = "turnout"
    """The task queue that it takes from."""
    modules: str = ""
    """Python packages with workflows and activities to run; inputs of routes are checked against them."""
    pass_through: str = ""
    """Packages that the sandbox does not import anew for each workflow."""
    grace: Duration = timedelta(seconds=10)
    """How long activities have to end after SIGTERM."""
    cached_workflows: int = Field(1_000, ge=0)
    """How many workflows are kept in memory."""
    workflow_slots: int = Field(100, ge=1)
    """How many workflow tasks run at once."""
    activity_slots: int = Field(100, ge=1)
    """How many activities run at once."""
    # The SDK keeps one poller for new workflows, and one for those that it has in its cache.
    pollers: int = Field(100, ge=2)
    """How many calls ask for tasks of each kind at once, at most."""

    @property
    def packages(self) -> tuple[str, ...]:
        """The names in `modules`."""
        return _listed(self.modules)

    @property
    def passed_through(self) -> tuple[str, ...]:
        """The names in `pass_through`."""
        return _listed(self.pass_through)

    @field_validator("modules", "pass_through")
    @classmethod
    def _module_names(cls, value: str) -> str:
        for name in _listed(value):
            if not all(part.isidentifier() for part in name.split(".")):
                msg = f"{name!r} is no name of a Python package; write for example shop.orders,shop.models"
                raise ValueError(msg)
        return value


def _listed(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())


class ClosingSettings(_Secrets):
    """How it is learned that workflows have closed, for routes with `publish_closing`.

    `callbacks`: Temporal calls at `url`, where `address` is reached; if that is empty, another process
    listens for this one, too. `sweep`: we look every so often, where Temporal cannot call (Temporal Cloud).
    The secrets sign what a callback brings back.
    """

    by: Literal["callbacks", "sweep", "both"] = "callbacks"
    """`callbacks`: Temporal calls. `sweep`: we look, where it cannot call."""
    address: str = "127.0.0.1:7244"
    """Where the bridge listens for callbacks, `host:port`."""
    url: str = ""
    """Where Temporal reaches it; absent, `http://` and that address."""
    sweep_every: Duration = timedelta(seconds=30)
    """The time from one look to the next."""
    visibility_lag: Duration = timedelta(minutes=5)
    """How late visibility may know that a workflow closed."""

    @field_validator("address")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        return _address(value, example="127.0.0.1:7244")

    @field_validator("url")
    @classmethod
    def _http(cls, value: str) -> str:
        if value and not _URL.fullmatch(value):
            msg = (
                f"{value!r} is no address that Temporal can call; write for example http://turnout.shop:7244/"
            )
            raise ValueError(msg)
        return value

    @property
    def called_at(self) -> str:
        """Where Temporal calls."""
        return self.url or f"http://{self.address}/"

    @property
    def callbacks(self) -> bool:
        """Whether Temporal is to call."""
        return self.by != "sweep"

    @property
    def sweep(self) -> bool:
        """Whether we look by ourselves."""
        return self.by != "callbacks"


class RegistrySettings(_Part):
    """The schema registry of topics that need one, and how to log in: by password or by token."""

    url: str = ""
    """Where it is; for Apicurio with `/apis/ccompat/v7` at the end."""
    username: str = ""
    """Who we are, with a password."""
    password: SecretStr | None = None
    """The password."""
    password_file: Path | None = None
    """A file with the password, in its place; read anew for each question."""
    token: SecretStr | None = None
    """A bearer token, in place of name and password."""
    token_file: Path | None = None
    """A file with the token, in its place; read anew for each question."""
    tls_ca_file: Path | None = None
    """Who vouches for the registry; absent, the authorities of the system."""
    tls_cert_file: Path | None = None
    """Our certificate, where the registry asks for one."""
    tls_key_file: Path | None = None
    """The key of our certificate, if it is in a file of its own."""
    allow_insecure: bool = False
    """Send a password or a token to it, be the way encrypted or not."""

    @field_validator("url")
    @classmethod
    def _http(cls, value: str) -> str:
        if value and not _URL.fullmatch(value):
            msg = "is no address of a registry; write for example http://registry:8081, and no password in it"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _one_way_in(self) -> "RegistrySettings":
        if sum(map(bool, (self.password, self.password_file, self.token, self.token_file))) > 1:
            msg = "give one of password, password_file, token and token_file"
            raise ValueError(msg)
        if bool(self.username) != bool(self.password or self.password_file):
            msg = "username needs password or password_file, and these need username"
            raise ValueError(msg)
        if self.tls_key_file and not self.tls_cert_file:
            msg = "tls_key_file needs tls_cert_file"
            raise ValueError(msg)
        who = self.password or self.password_file or self.token or self.token_file
        plain = self.url.startswith("http://") and not is_this_machine(_host_of(self.url))
        if who and plain and not self.allow_insecure:
            msg = (
                "url is not encrypted, and a password or token goes there; use https, or set "
                "TURNOUT_REGISTRY__ALLOW_INSECURE=true in a network that you trust"
            )
            raise ValueError(msg)
        return self

    def secret_files(self) -> Iterator[tuple[str, Path | None]]:
        """The files that others must not read, with their settings."""
        yield "TURNOUT_REGISTRY__PASSWORD_FILE", self.password_file
        yield "TURNOUT_REGISTRY__TOKEN_FILE", self.token_file
        yield "TURNOUT_REGISTRY__TLS_KEY_FILE", self.tls_key_file or self.tls_cert_file

    def authorization(self) -> str:
        """What the header `Authorization` says; empty where nobody is to log in.

        Raises:
            ConfigurationError: A file cannot be read.
        """
        if token := _secret(self.token, self.token_file, "TURNOUT_REGISTRY__TOKEN_FILE"):
            return f"Bearer {token}"
        if password := _secret(self.password, self.password_file, "TURNOUT_REGISTRY__PASSWORD_FILE"):
            return f"Basic {b64encode(f'{self.username}:{password}'.encode()).decode()}"
        return ""


def _secret(given: SecretStr | None, file: Path | None, setting: str) -> str:
    if file is not None:
        return text_of(file, setting)
    return given.get_secret_value() if given else ""


class EncryptionSettings(_Part):
    """How payloads are encrypted on their way to Temporal; the same for bridges, workers and commands."""

    keys_file: Path | None = None
    """The file of keys, one per line; the first encrypts, all decrypt. Absent, nothing is encrypted."""


class CodecSettings(_Part):
    """Who may have payloads decrypted for the Temporal UI: `turnout codec serve`."""

    address: str = "127.0.0.1:8091"
    """Where it listens, `host:port`."""
    origins: str = ""
    """The Temporal UI as browsers know it, for example `https://temporal.shop`; several with commas."""
    namespaces: str = ""
    """The namespaces whose payloads it decrypts, with commas; absent, all."""
    token_file: Path | None = None
    """A file with the tokens of those who may ask, one per line; beyond this machine it is needed, or
    `TURNOUT_API__JWT__…`."""

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The items of `origins`."""
        return tuple(origin.rstrip("/") for origin in _listed(self.origins))

    @property
    def allowed_namespaces(self) -> frozenset[str]:
        """The items of `namespaces`; empty allows all."""
        return frozenset(_listed(self.namespaces))

    @field_validator("address")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        return _address(value, example="127.0.0.1:8091")

    @field_validator("origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        for origin in _listed(value):
            if not re.fullmatch(r"https?://[^\s/?#@]+/?", origin):
                msg = f"{origin!r} is no origin; write for example https://temporal.shop, and no path"
                raise ValueError(msg)
        return value


class LogSettings(_Part):
    """How to log; `auto` is text on a terminal and JSON elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """From which level on."""
    format: Literal["auto", "json", "text"] = "auto"
    """`auto` is text on a terminal and JSON elsewhere."""


class _Served(_Part):
    """Where something is served, `host:port`; empty serves it nowhere."""

    address: str = ""

    @field_validator("address")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        return _address(value, example="127.0.0.1:9090") if value else value


class MetricsSettings(_Served):
    """Where Prometheus finds the metrics, `host:port`; empty serves none."""

    address: str = ""
    """Where Prometheus finds the metrics, `host:port`; absent, nowhere."""


class TracesSettings(_Part):
    """Whether traces are exported; where to, and how, OpenTelemetry's own variables say."""

    export: Literal["auto", "on", "off"] = "auto"
    """`auto`: where `OTEL_EXPORTER_OTLP_ENDPOINT` says where to. `on`: or it does not start."""


class HealthSettings(_Served):
    """Where probes ask for `/livez` and `/readyz`, `host:port`; empty serves none."""

    address: str = ""
    """Where probes ask for `/livez` and `/readyz`, `host:port`; absent, nowhere."""


class JwtSettings(_Part):
    """Tokens of one issuer that the handler API and the codec server take.

    Give `jwks`, `issuer` and `audience`, or none.
    """

    jwks: str = ""
    """Where the issuer's public keys are: `https://…`, or a file; both are read again by themselves."""
    issuer: str = ""
    """Who made the token: its `iss`, the very same text."""
    audience: str = ""
    """Whom it must be for: its `aud`; several with commas, one of which must be there."""
    algorithms: str = "RS256,ES256"
    """How it may be signed, with commas; only with a key pair."""
    tls_ca_file: Path | None = None
    """Who vouches for the server of the keys; absent, the authorities of the system."""
    keys_kept: Duration = timedelta(hours=1)
    """How long the keys are used when they cannot be read again; then such calls are answered 503."""

    @property
    def audiences(self) -> tuple[str, ...]:
        """The names in `audience`."""
        return _listed(self.audience)

    @property
    def signed(self) -> tuple[str, ...]:
        """The names in `algorithms`."""
        return _listed(self.algorithms)

    @field_validator("jwks")
    @classmethod
    def _key_set(cls, value: str) -> str:
        if not re.match("https?:", value):
            return value
        if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s#]*)?", value):
            msg = "is no address; write for example https://login.shop/.well-known/jwks.json, or a file"
            raise ValueError(msg)
        if value.startswith("http:") and not is_this_machine(_host_of(value)):
            msg = f"{value!r}: over http anyone on the way could put in own keys; write https://, or a file"
            raise ValueError(msg)
        return value

    @field_validator("algorithms")
    @classmethod
    def _key_pairs(cls, value: str) -> str:
        wrong = [name for name in _listed(value) if name not in ALGORITHMS]
        if wrong or not _listed(value):
            msg = f"{', '.join(wrong) or 'it'} is not taken; write some of {', '.join(ALGORITHMS)}"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _whole(self) -> "JwtSettings":
        needed = {"JWKS": self.jwks, "ISSUER": self.issuer, "AUDIENCE": ", ".join(self.audiences)}
        missing = [f"TURNOUT_API__JWT__{name}" for name, value in needed.items() if not value]
        others = self.model_fields_set - {"jwks", "issuer", "audience"}
        if missing and (len(missing) < len(needed) or others):
            msg = f"write {' and '.join(missing)}, too: each token is checked against all of them"
            raise ValueError(msg)
        return self


class ApiSettings(_Part):
    """Where clients may ask directly, how much, and who; see docs/api.md. Off unless an address is given."""

    http_address: str = ""
    """Where the API is served over HTTP, `host:port`; absent, nowhere."""
    grpc_address: str = ""
    """Where it is served over gRPC, `host:port`; absent, nowhere."""
    grpc_tls_cert_file: Path | None = None
    """Our certificate, for gRPC over TLS; absent, it is served without."""
    grpc_tls_key_file: Path | None = None
    """Its key."""
    calls: int = Field(100, ge=1)
    """How many calls are under way at once; more are refused."""
    connections: int = Field(500, ge=1)
    """How many connections are held at once; more are refused."""
    time_limit: Duration = timedelta(seconds=30)
    """How long a call may take."""
    token_file: Path | None = None
    """A file of tokens that let a caller in: one per line, or a name, a blank and its token; all are valid,
    and it is read again when it changes."""
    jwt: JwtSettings = JwtSettings()

    @property
    def guarded(self) -> bool:
        """Whether callers need a token."""
        return bool(self.token_file or self.jwt.jwks)

    def secret_files(self) -> Iterator[tuple[str, Path | None]]:
        """The files that others must not read, with their settings."""
        yield "TURNOUT_API__TOKEN_FILE", self.token_file
        yield "TURNOUT_API__GRPC_TLS_KEY_FILE", self.grpc_tls_key_file

    @field_validator("http_address", "grpc_address")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        return _address(value, example="127.0.0.1:7245") if value else value

    @model_validator(mode="after")
    def _not_open_to_all(self) -> "ApiSettings":
        for address in (self.http_address, self.grpc_address):
            if address and not self.guarded and not is_this_machine(address):
                msg = (
                    f"others than this machine reach {address}, and anybody could call; write "
                    "TURNOUT_API__TOKEN_FILE or TURNOUT_API__JWT__JWKS, or 127.0.0.1 as host"
                )
                raise ValueError(msg)
        if bool(self.grpc_tls_cert_file) != bool(self.grpc_tls_key_file):
            msg = "grpc_tls_cert_file needs grpc_tls_key_file, and that needs the other"
            raise ValueError(msg)
        return self


class Settings(BaseSettings):
    """All settings. The service needs `group`, which has no default: a changed one reads all again."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    group: str = ""
    """The consumer group; letters go to `<group>.dead-letters`. It is needed, and a changed one reads
    everything again."""
    routes: Path = Path("routes")
    """The routes: a file, or a folder of `*.yaml`."""
    start_timeout: Duration = timedelta(seconds=30)
    """How long a start waits for Kafka and Temporal."""
    kafka: KafkaSettings = KafkaSettings()
    temporal: TemporalSettings = TemporalSettings()
    intake: IntakeSettings = IntakeSettings()
    worker: WorkerSettings = WorkerSettings()
    calls: CallsSettings = CallsSettings()
    closing: ClosingSettings = ClosingSettings()
    registry: RegistrySettings = RegistrySettings()
    encryption: EncryptionSettings = EncryptionSettings()
    codec: CodecSettings = CodecSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    traces: TracesSettings = TracesSettings()
    health: HealthSettings = HealthSettings()
    api: ApiSettings = ApiSettings()

    def secret_files(self) -> Iterator[tuple[str, Path | None]]:
        """The files that others must not read, with their settings."""
        yield from self.kafka.secret_files()
        yield "TURNOUT_TEMPORAL__API_KEY_FILE", self.temporal.api_key_file
        yield "TURNOUT_ENCRYPTION__KEYS_FILE", self.encryption.keys_file
        yield from self.registry.secret_files()
        yield "TURNOUT_CALLS__SECRET_FILE", self.calls.secret_file
        yield "TURNOUT_CLOSING__SECRET_FILE", self.closing.secret_file
        yield "TURNOUT_CODEC__TOKEN_FILE", self.codec.token_file
        yield from self.api.secret_files()

    def for_process(self, number: int) -> "Settings":
        """Those of the `number`-th of several processes, from 1: what only one can have is each one's own.

        Raises:
            ConfigurationError: There is no port left for it.
        """
        instance = self.kafka.group_instance_id
        kafka = {"group_instance_id": f"{instance}-{number}" if instance else instance}
        metrics = {"address": _nth_port(self.metrics.address, number, "TURNOUT_METRICS__ADDRESS")}
        health = {"address": _nth_port(self.health.address, number, "TURNOUT_HEALTH__ADDRESS")}
        api = {
            "http_address": _nth_port(self.api.http_address, number, "TURNOUT_API__HTTP_ADDRESS"),
            "grpc_address": _nth_port(self.api.grpc_address, number, "TURNOUT_API__GRPC_ADDRESS"),
        }
        # Temporal calls one address: there the first listens for all.
        closing = {"url": self.closing.called_at, "address": ""} if number > 1 else {}
        return self.model_copy(
            update={
                "kafka": self.kafka.model_copy(update=kafka),
                "metrics": self.metrics.model_copy(update=metrics),
                "health": self.health.model_copy(update=health),
                "closing": self.closing.model_copy(update=closing),
                "api": self.api.model_copy(update=api),
            }
        )


def _nth_port(address: str, number: int, setting: str) -> str:
    if not address:
        return address
    host, _, first = address.rpartition(":")
    port = int(first) + number - 1
    if port >= 1 << 16:
        msg = (
            f"{setting}={address}: process {number} would listen on port {port}, and there are none beyond "
            "65535; write a lower port, or fewer --processes"
        )
        raise ConfigurationError(msg)
    return f"{host}:{port}"


def load_settings(environment: Mapping[str, str] = os.environ, *, need_group: bool = True) -> Settings:
    """The settings of this process; commands that read no group do without one.

    Raises:
        ConfigurationError: Names each setting that is wrong, what is wrong, and what to write.
    """
    problems = [*_unknown(environment)]
    group = next((value for name, value in environment.items() if name.upper() == "TURNOUT_GROUP"), "")
    if need_group and not _GROUP.fullmatch(group):
        problems.append(NO_GROUP)
    try:
        settings = Settings()
    except (ValidationError, SettingsError) as error:
        problems += _sentences(error)
    if problems:
        raise ConfigurationError("\n  ".join(["these settings are wrong:", *problems]))
    return settings


def _unknown(environment: Mapping[str, str]) -> Iterator[str]:
    known = list(_names(Settings, PREFIX))
    for name in sorted(environment):
        if name.startswith(PREFIX) and name.upper() not in known:
            # Without the prefix that all share, else anything would be close to something.
            ends = [one.removeprefix(PREFIX) for one in known]
            close = difflib.get_close_matches(name.removeprefix(PREFIX).upper(), ends, n=1)
            cure = f"; did you mean {PREFIX}{close[0]}?" if close else ""
            yield f"{name}: there is no such setting{cure}"


def _names(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _names(info.annotation, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}"


def _sentences(error: ValidationError | SettingsError) -> Iterator[str]:
    if isinstance(error, SettingsError):
        yield f"{error}; nested settings are written TURNOUT_PART__NAME=value"
        return
    for one in error.errors(include_url=False, include_input=False):
        name = PREFIX + "__".join(str(part).upper() for part in one["loc"])
        yield f"{name}: {one['msg'].removeprefix('Value error, ')}"


NO_GROUP = (
    "TURNOUT_GROUP: the Kafka consumer group is needed and has no default, since a changed one reads "
    "everything again; write for example TURNOUT_GROUP=shop-turnout (up to 200 letters, digits, . _ -)"
)
