"""What settings, route files and installed versions alone tell: nobody is asked."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TypeVar
from urllib.parse import urlsplit

from service.access import temporal_access
from service.dispatch.contracts import Contracts
from service.dispatch.judging import judge_by
from service.errors import ConfigurationError
from service.kafka.connection import Connection
from service.pipeline import kafka_connection, make_callbacks, make_registry, needed_seal, topics_with_schemas
from service.routing.table import RouteTable, load_routes
from service.settings import Settings, load_settings
from service.surroundings.checks import Finding
from service.temporal.access import Access
from service.temporal.versions import deployment_version
from service.temporal.worker import find

T = TypeVar("T")

LARGEST_PAYLOAD_BYTES = 2 << 20
"""Of what Temporal takes as input (`limit.blobSize.error`)."""

LEAST_SESSION = timedelta(seconds=10)
_BOUND = re.compile(r"(>=|<)\s*([0-9.]+)")
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*([^;]*)$")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known without asking anybody; None is what cannot be used.

    `address` is Temporal's, `namespace` turnout's own.
    """

    findings: Sequence[Finding]
    settings: Settings | None = None
    table: RouteTable | None = None
    connection: Connection | None = None
    address: str = ""
    namespace: str = ""


def examine(environment: Mapping[str, str]) -> Known:
    """All that `environment` and the files that it names tell; what is wrong is found, not raised."""
    findings: list[Finding] = [*judge_versions(_installed(), _required())]
    try:
        settings = load_settings(environment)
    except ConfigurationError as error:
        address, namespace = _temporal(findings, Access())
        for line in str(error).split("\n  ")[1:]:
            name, _, problem = line.partition(": ")
            findings.append(halved("TD101", name, problem))
        return Known(findings, address=address, namespace=namespace)
    address, namespace = _temporal(findings, temporal_access(settings))
    table = _table(findings, settings, environment)
    connection = _kept(findings, "TD105", "Kafka", lambda: _usable(settings))
    findings += judge_settings(settings, table, address)
    if table:
        _secrets(findings, settings, table)
    return Known(findings, settings, table, connection, address, namespace)


def _temporal(findings: list[Finding], access: Access) -> tuple[str, str]:
    """Temporal's address and our namespace there; empty where its environment cannot be used."""
    options = _kept(findings, "TD102", "Temporal's environment", access.connect_options) or {}
    return options.get("target_host", ""), options.get("namespace", "")


def _table(findings: list[Finding], settings: Settings, environment: Mapping[str, str]) -> RouteTable | None:
    found = _kept(findings, "TD104", "TURNOUT_WORKER__MODULES", lambda: find(settings.worker.packages))
    _kept(findings, "TD104", "the worker's build", lambda: deployment_version(environment))
    try:
        return load_routes(settings.routes, judge_by(Contracts(found.workflows if found else ())))
    except ConfigurationError as error:
        findings += [
            Finding("TD103", f"{one.path}:{one.line}:{one.column}", f"{one.code} {one.problem}", one.cure)
            for one in error.findings
        ]
    return None


def _usable(settings: Settings) -> Connection:
    connection = kafka_connection(settings.kafka)
    connection.client_options()  # reads the certificates
    return connection


def _secrets(findings: list[Finding], settings: Settings, table: RouteTable) -> None:
    _kept(findings, "TD105", "closings", lambda: make_callbacks(settings.closing, table))
    _kept(findings, "TD105", "calls", lambda: needed_seal(settings.calls, table))
    if needing := topics_with_schemas(table):
        _kept(findings, "TD105", "schema registry", settings.registry.authorization)
        _kept(findings, "TD106", "schema registry", lambda: make_registry(settings.registry, needing))


def judge_settings(settings: Settings, table: RouteTable | None, address: str) -> Iterator[Finding]:
    """What is right and bites: `settings`, with routes where these can be used; `address` is Temporal's."""
    kafka, closing = settings.kafka, settings.closing
    if settings.intake.value_bytes > LARGEST_PAYLOAD_BYTES:
        problem = (
            f"values may have {settings.intake.value_bytes} bytes, and Temporal takes {LARGEST_PAYLOAD_BYTES}"
        )
        cure = "lower it, or let routes pass on less than `${data}`"
        yield Finding("TD107", "TURNOUT_INTAKE__VALUE_BYTES", problem, cure)
    called = urlsplit(closing.called_at).hostname or ""
    is_asked = closing.callbacks and table is not None and table.closing_topics
    if is_asked and is_loopback(called) and address and not _is_local(address):
        problem = f"Temporal, which is elsewhere, is to call {closing.called_at}"
        cure = "set TURNOUT_CLOSING__URL to where it reaches the bridge, or TURNOUT_CLOSING__BY=sweep"
        yield Finding("TD108", "TURNOUT_CLOSING__URL", problem, cure)
    away = [one.strip() for one in kafka.bootstrap_servers.split(",") if not _is_local(one)]
    if away and kafka.security_protocol.endswith("PLAINTEXT"):
        problem = f"{kafka.security_protocol} to {', '.join(away)}, which is no address of this machine"
        yield Finding("TD109", "TURNOUT_KAFKA__SECURITY_PROTOCOL", problem, "set it to SASL_SSL or SSL")
    if not settings.temporal.ui_url:
        cure = "set it to where people see workflows, for example https://temporal.shop"
        yield Finding("TD110", "TURNOUT_TEMPORAL__UI_URL", "it is not set", cure)
    for name, part, port in (("HEALTH", settings.health, 8080), ("METRICS", settings.metrics, 9090)):
        if not part.address:
            setting = f"TURNOUT_{name}__ADDRESS"
            yield Finding(
                "TD111", setting, "it is not set", f"set it, for example {setting}=127.0.0.1:{port}"
            )
    if kafka.session_timeout < LEAST_SESSION:
        problem = f"after {kafka.session_timeout.total_seconds():g} s without a sign of life others take over"
        cure = f"set it to {LEAST_SESSION.total_seconds():.0f}s or more; 45s is the default"
        yield Finding("TD113", "TURNOUT_KAFKA__SESSION_TIMEOUT", problem, cure)


def judge_versions(installed: Mapping[str, str], required: Iterable[str]) -> Iterator[Finding]:
    """Libraries among `installed` that are not as `required`, written as packages say it: `name>=1.2,<2`."""
    for one in required:
        if not (form := _REQUIREMENT.fullmatch(one)):
            continue  # of an extra, or of a platform
        name, bounds = form.groups()
        has = installed.get(name)
        wrong = [
            f"{sign}{bound}" for sign, bound in _BOUND.findall(bounds) if has and not _fits(has, sign, bound)
        ]
        if wrong:
            cure = f'pip install "{name}{bounds.strip()}", or all by requirements/run.txt'
            yield Finding("TD112", name, f"it is {has}, and {' and '.join(wrong)} is needed", cure)


def _required() -> Sequence[str]:
    try:
        return requires("turnout") or ()
    except PackageNotFoundError:  # run from its folder, without having been installed
        return ()


def _installed() -> dict[str, str]:
    found = {}
    for one in _required():
        if form := _REQUIREMENT.fullmatch(one):
            with suppress(PackageNotFoundError):
                found[form[1]] = version(form[1])
    return found


def _fits(has: str, sign: str, bound: str) -> bool:
    numbers, least = _numbers(has), _numbers(bound)
    return numbers >= least if sign == ">=" else numbers < least


def _numbers(text: str) -> tuple[int, ...]:
    form = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, form[0].split("."))) if form else ()


def is_loopback(host: str) -> bool:
    """Whether `host` means this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_local(address: str) -> bool:
    return is_loopback(address.strip().rpartition(":")[0].strip("[]"))


def _kept(findings: list[Finding], code: str, thing: str, make: Callable[[], T]) -> T | None:
    """What `make` gives; what it says is wrong becomes a finding."""
    try:
        return make()
    except ConfigurationError as error:
        findings.append(halved(code, thing, str(error)))
        return None


def halved(code: str, thing: str, text: str) -> Finding:
    """A finding of an error's text: its cure stands behind the first semicolon, and in the lines below."""
    first, *below = text.removeprefix(f"{thing}: ").splitlines()
    problem, _, cure = first.partition("; ")
    return Finding(
        code, thing, problem.removesuffix(":"), "\n".join(filter(None, [cure, *map(str.strip, below)]))
    )
