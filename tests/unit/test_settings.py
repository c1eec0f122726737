"""Settings: what is wrong is said all at once, with the cure; secrets are never said."""

import os
from base64 import b64encode
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.durations import parse_duration
from service.errors import ConfigurationError
from service.pipeline import kafka_connection
from service.settings import PREFIX, Settings, _names, load_settings
from service.temporal.worker import Capacity
from service.wiring import capacity_of

SECRET = "s3cret-of-kafka"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TURNOUT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TURNOUT_GROUP", "shop-turnout")


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(f"TURNOUT_{name}", value)
    return load_settings()


def refusal(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        load(monkeypatch, **variables)
    return str(refused.value)


def test_nested_names_reach_their_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(
        monkeypatch,
        KAFKA__BOOTSTRAP_SERVERS="kafka-1.shop:9092, [::1]:9093",
        KAFKA__SECURITY_PROTOCOL="SSL",
        INTAKE__WINDOW_RECORDS="7",
        WORKER__MODULES="shop.orders, shop.customers,",
        LOG__FORMAT="json",
    )
    assert settings.group == "shop-turnout"
    assert settings.kafka.bootstrap_servers == "kafka-1.shop:9092, [::1]:9093"
    assert settings.intake.window_records == 7
    assert settings.worker.packages == ("shop.orders", "shop.customers")
    assert settings.log.format == "json"


UNKNOWN = [
    ("GRUOP", "TURNOUT_GROUP"),
    ("BOOTSTRAP_SERVERS", "TURNOUT_KAFKA__BOOTSTRAP_SERVERS"),
    ("KAFKA_BOOTSTRAP_SERVERS", "TURNOUT_KAFKA__BOOTSTRAP_SERVERS"),
    ("KAFKA__BOOTSTRAP_SERVER", "TURNOUT_KAFKA__BOOTSTRAP_SERVERS"),
    ("INTAKE__CONCURENCY", "TURNOUT_INTAKE__CONCURRENCY"),
]


@pytest.mark.parametrize(("name", "meant"), UNKNOWN)
def test_an_unknown_name_is_refused_with_the_one_that_was_meant(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    text = refusal(monkeypatch, **{name: "1"})
    assert f"TURNOUT_{name}: there is no such setting; did you mean {meant}?" in text


def test_a_name_that_is_close_to_none_is_refused_without_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(monkeypatch, X="1").endswith("TURNOUT_X: there is no such setting")


def test_names_without_our_prefix_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:7233")
    assert load(monkeypatch)


def test_a_missing_group_is_refused_with_the_reason_and_an_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TURNOUT_GROUP")
    text = refusal(monkeypatch)
    assert "TURNOUT_GROUP: the Kafka consumer group is needed" in text
    assert "write for example TURNOUT_GROUP=shop-turnout" in text
    assert load_settings(need_group=False).group == ""


def test_all_mistakes_are_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    text = refusal(monkeypatch, GROUP="with blank", INTAKE__CONCURRENCY="0", LOG__LEVEL="loud", GRUOP="x")
    for name in ("TURNOUT_GROUP", "TURNOUT_INTAKE__CONCURRENCY", "TURNOUT_LOG__LEVEL", "TURNOUT_GRUOP"):
        assert f"\n  {name}: " in text


SPANS = {
    "30s": timedelta(seconds=30),
    "15m": timedelta(minutes=15),
    "2h": timedelta(hours=2),
    "1d": timedelta(days=1),
    "PT30S": timedelta(seconds=30),
    "PT0.5S": timedelta(milliseconds=500),
    "P1DT2H3M4S": timedelta(days=1, hours=2, minutes=3, seconds=4),
}


@pytest.mark.parametrize(("text", "span"), SPANS.items())
def test_time_spans_are_written_with_a_unit(
    monkeypatch: pytest.MonkeyPatch, text: str, span: timedelta
) -> None:
    assert load(monkeypatch, INTAKE__DRAIN=text).intake.drain == span


@pytest.mark.parametrize(
    "text", ["30", "", "s", "30 s", "30S", "-1s", "1w", "P", "PT", "P1DT", "P1Y", "1.5h", "1000000d"]
)
def test_a_bare_number_or_anything_else_is_no_time_span(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    text = refusal(monkeypatch, INTAKE__DRAIN=text)
    assert text.endswith(
        "TURNOUT_INTAKE__DRAIN: is no time span; "
        "write a whole number with a unit, like 30s, 15m, 2h, or PT30S"
    )


@given(st.integers(0, 99_999), st.sampled_from("smhd"))
def test_the_short_and_the_iso_8601_form_of_a_span_are_equal(number: int, unit: str) -> None:
    iso = f"P{number}D" if unit == "d" else f"PT{number}{unit.upper()}"
    assert parse_duration(f"{number}{unit}") == parse_duration(iso)


@given(st.text(max_size=20) | st.from_regex(r"P[0-9DTHMS.]*", fullmatch=True))
def test_any_text_is_a_span_or_none(text: str) -> None:
    span = parse_duration(text)
    assert span is None or span >= timedelta(0)


# --- Kafka ---


@pytest.mark.parametrize(
    "servers", ["", "localhost", "localhost:", "localhost:abc", ":9092", "a..b:9092", "a:9092,", "a:65536"]
)
def test_an_address_that_is_not_host_and_port_is_refused(
    monkeypatch: pytest.MonkeyPatch, servers: str
) -> None:
    assert "is not host:port; write for example 127.0.0.1:9092" in refusal(
        monkeypatch, KAFKA__BOOTSTRAP_SERVERS=servers
    )


@pytest.mark.parametrize("address", ["9090", "localhost", ":9090", "127.0.0.1:65536", "a:9090,b:9090"])
def test_an_address_for_metrics_that_is_not_host_and_port_is_refused(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    assert "TURNOUT_METRICS__ADDRESS: " in refusal(monkeypatch, METRICS__ADDRESS=address)


def test_metrics_are_served_nowhere_unless_an_address_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch).metrics.address == ""
    assert load(monkeypatch, METRICS__ADDRESS="127.0.0.1:9090").metrics.address == "127.0.0.1:9090"


@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT"])
def test_sasl_needs_a_mechanism_and_a_user(monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    text = refusal(monkeypatch, KAFKA__SECURITY_PROTOCOL=protocol, KAFKA__USERNAME="turnout")
    assert text.endswith("TURNOUT_KAFKA: SASL needs sasl_mechanism, username, and password or password_file")


SASL = {
    "KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "KAFKA__SASL_MECHANISM": "PLAIN",
    "KAFKA__USERNAME": "turnout",
}


def test_a_secret_is_never_in_the_text_of_what_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, **SASL, KAFKA__PASSWORD=SECRET)
    connection = kafka_connection(settings.kafka)
    assert connection.client_options()["sasl_plain_password"] == SECRET
    for thing in (settings, settings.kafka, connection):
        assert SECRET not in f"{thing!r} {thing}"


@pytest.mark.parametrize(
    "mistake",
    [
        {"KAFKA__PASSWORD_FILE": "/run/secrets/kafka"},
        {"KAFKA__SASL_MECHANISM": "GSSAPI"},
        {"KAFKA": f'{{"password": "{SECRET}"'},
        {"KAFKA": f'{{"password": ["{SECRET}"]}}'},
        {"KAFKA__PASSWORT": SECRET},
    ],
)
def test_a_secret_is_never_in_a_refusal(monkeypatch: pytest.MonkeyPatch, mistake: dict[str, str]) -> None:
    assert SECRET not in refusal(monkeypatch, **SASL | {"KAFKA__PASSWORD": SECRET} | mistake)


def test_a_password_may_lie_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")
    settings = load(monkeypatch, **SASL, KAFKA__PASSWORD_FILE=str(file))
    assert kafka_connection(settings.kafka).client_options()["sasl_plain_password"] == SECRET


def test_a_password_file_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = load(monkeypatch, **SASL, KAFKA__PASSWORD_FILE=str(tmp_path / "absent"))
    with pytest.raises(ConfigurationError, match=r"TURNOUT_KAFKA__PASSWORD_FILE=.*absent cannot be read"):
        kafka_connection(settings.kafka)


def test_two_passwords_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = refusal(monkeypatch, **SASL, KAFKA__PASSWORD=SECRET, KAFKA__PASSWORD_FILE="x")
    assert "give password or password_file, not both" in text


TLS = {"KAFKA__SECURITY_PROTOCOL": "SASL_SSL"}
TOKEN = {"KAFKA__SECURITY_PROTOCOL": "SASL_SSL", "KAFKA__SASL_MECHANISM": "OAUTHBEARER"}
CLIENT = {"KAFKA__TOKEN_URL": "https://login/token", "KAFKA__CLIENT_ID": "t", "KAFKA__CLIENT_SECRET": SECRET}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1,kafka:9092"}, "PLAINTEXT to kafka:9092 is not encrypted"),
        (
            {**SASL, "KAFKA__PASSWORD": SECRET, "KAFKA__BOOTSTRAP_SERVERS": "10.0.0.1:9092"},
            "set security_protocol to SSL or SASL_SSL, or set TURNOUT_KAFKA__ALLOW_INSECURE=true",
        ),
        ({**TOKEN, **CLIENT, "KAFKA__TOKEN_URL": "http://login/token"}, "token_url is not encrypted"),
        ({"KAFKA__USERNAME": "turnout"}, "there are credentials to log in with, and no login"),
        ({"KAFKA__SASL_MECHANISM": "PLAIN"}, "there are credentials to log in with, and no login"),
        ({"KAFKA__TOKEN_FILE": "x"}, "there are credentials to log in with, and no login"),
        ({"KAFKA__CLIENT_SECRET": SECRET}, "there are credentials to log in with, and no login"),
        ({"KAFKA__TLS_CA_FILE": "x"}, "tls_… files are for TLS; set security_protocol to SSL or SASL_SSL"),
        ({"KAFKA__TLS_KEY_FILE": "x", "KAFKA__SECURITY_PROTOCOL": "SSL"}, "tls_key_file needs tls_cert_file"),
        (TOKEN, "OAUTHBEARER needs token_file or token_url, and not both"),
        ({**TOKEN, **CLIENT, "KAFKA__TOKEN_FILE": "x"}, "needs token_file or token_url, and not both"),
        (
            {**TOKEN, "KAFKA__TOKEN_URL": "https://login/token"},
            "token_url needs client_id, and",
        ),
        (
            {**TOKEN, **CLIENT, "KAFKA__CLIENT_SECRET_FILE": "x"},
            "client_secret_file, not both",
        ),
        ({**TOKEN, "KAFKA__TOKEN_URL": "login"}, "is no address of a token endpoint"),
        ({**TOKEN, "KAFKA__TOKEN_FILE": "x", "KAFKA__PASSWORD": SECRET}, "OAUTHBEARER takes no username"),
        ({**SASL, "KAFKA__PASSWORD": SECRET, "KAFKA__TOKEN_FILE": "x"}, "are for OAUTHBEARER"),
        (
            {**TLS, "KAFKA__SASL_MECHANISM": "SCRAM-SHA-1"},
            "'SCRAM-SHA-512' or 'OAUTHBEARER'",
        ),
        (
            {"REGISTRY__URL": "http://registry", "REGISTRY__TOKEN": SECRET},
            "url is not encrypted",
        ),
        (
            {"CODEC__ORIGINS": "https://temporal.shop/ui"},
            "is no origin; write for example",
        ),
    ],
)
def test_what_is_insecure_or_half_given_is_refused_with_what_to_write(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], problem: str
) -> None:
    text = refusal(monkeypatch, **given)
    assert problem in text
    assert SECRET not in text


@pytest.mark.parametrize(
    "given",
    [
        {"KAFKA__BOOTSTRAP_SERVERS": "kafka:9092", "KAFKA__ALLOW_INSECURE": "true"},
        {"KAFKA__BOOTSTRAP_SERVERS": "[::1]:9092,localhost:9092"},
        {"KAFKA__BOOTSTRAP_SERVERS": "kafka:9092", "KAFKA__SECURITY_PROTOCOL": "SSL"},
        {**TOKEN, **CLIENT},
        {**TOKEN, **CLIENT, "KAFKA__TOKEN_URL": "http://127.0.0.1:8080/token"},
        {**TOKEN, "KAFKA__TOKEN_FILE": "x"},
        {"REGISTRY__URL": "http://[::1]:8081", "REGISTRY__TOKEN": SECRET},
        {"REGISTRY__URL": "http://registry:8081"},
        {"REGISTRY__URL": "http://registry", "REGISTRY__TOKEN": SECRET, "REGISTRY__ALLOW_INSECURE": "true"},
    ],
)
def test_what_is_secure_or_wanted_so_is_taken(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    assert SECRET not in repr(load(monkeypatch, **given))


def test_the_files_that_others_must_not_read_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(
        monkeypatch,
        **SASL,
        KAFKA__PASSWORD_FILE="a",
        TEMPORAL__API_KEY_FILE="b",
        ENCRYPTION__KEYS_FILE="c",
        CLOSING__SECRET_FILE="d",
    )
    files = [str(file) for _, file in settings.secret_files() if file]
    assert files == ["a", "b", "c", "d"]
    known = set(_names(Settings, PREFIX))
    watched = {name for name, _ in settings.secret_files()}
    public = ("_CA_FILE", "_CERT_FILE")
    secret = {name for name in known if name.endswith("_FILE") and not name.endswith(public)}
    assert secret <= watched <= known


# --- the worker ---


def test_slots_cache_and_pollers_are_settings_with_the_numbers_of_the_sdk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert capacity_of(load(monkeypatch).worker) == Capacity()
    worker = load(
        monkeypatch,
        WORKER__CACHED_WORKFLOWS="0",
        WORKER__WORKFLOW_SLOTS="7",
        WORKER__ACTIVITY_SLOTS="8",
        WORKER__POLLERS="2",
        WORKER__PASS_THROUGH="shop.models, shop.prices,",
    ).worker
    assert capacity_of(worker) == Capacity(0, 7, 8, 2, ("shop.models", "shop.prices"))


@pytest.mark.parametrize(
    ("name", "value", "cure"),
    [
        ("CACHED_WORKFLOWS", "-1", "greater than or equal to 0"),
        ("WORKFLOW_SLOTS", "0", "greater than or equal to 1"),
        ("ACTIVITY_SLOTS", "0", "greater than or equal to 1"),
        ("POLLERS", "1", "greater than or equal to 2"),
        ("POLLERS", "many", "valid integer"),
        ("MODULES", "shop/orders", "write for example shop.orders,shop.models"),
        ("PASS_THROUGH", "shop.models shop.prices", "write for example shop.orders,shop.models"),
    ],
)
def test_a_worker_that_cannot_be_is_refused_with_what_to_write(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, cure: str
) -> None:
    text = refusal(monkeypatch, **{f"WORKER__{name}": value})
    assert f"TURNOUT_WORKER__{name}: " in text
    assert cure in text


# --- several processes ---


def test_each_of_several_processes_has_a_member_and_a_port_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = load(
        monkeypatch,
        KAFKA__GROUP_INSTANCE_ID="pod-0",
        METRICS__ADDRESS="[::1]:9090",
        API__GRPC_ADDRESS="127.0.0.1:7260",
        API__HTTP_ADDRESS="127.0.0.1:7245",
    )
    processes = [settings.for_process(number) for number in (1, 2)]
    assert [one.kafka.group_instance_id for one in processes] == ["pod-0-1", "pod-0-2"]
    assert [one.metrics.address for one in processes] == ["[::1]:9090", "[::1]:9091"]
    assert [one.api.grpc_address for one in processes] == ["127.0.0.1:7260", "127.0.0.1:7261"]
    assert [one.api.http_address for one in processes] == ["127.0.0.1:7245", "127.0.0.1:7246"]


def test_several_processes_have_no_member_and_no_port_that_was_not_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = load(monkeypatch)
    second = settings.for_process(2)
    assert (second.kafka, second.metrics) == (settings.kafka, settings.metrics)


def test_of_several_processes_one_listens_where_temporal_calls_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = load(monkeypatch, CLOSING__ADDRESS="127.0.0.1:7000")
    processes = [settings.for_process(number).closing for number in (1, 2)]
    assert [one.address for one in processes] == ["127.0.0.1:7000", ""]
    assert {one.called_at for one in processes} == {"http://127.0.0.1:7000/"}


def test_a_process_for_which_no_port_is_left_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, METRICS__ADDRESS="127.0.0.1:65535")
    assert settings.for_process(1).metrics == settings.metrics
    with pytest.raises(ConfigurationError, match="write a lower port, or fewer --processes"):
        settings.for_process(2)


# --- closings ---


def test_secrets_of_callbacks_are_the_lines_of_a_file_the_newest_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text("the new one \n\nthe old one\n")
    assert load(monkeypatch, CLOSING__SECRET_FILE=str(secrets)).closing.secrets() == [
        "the new one",
        "the old one",
    ]
    secrets.write_text("\n")
    with pytest.raises(ConfigurationError, match=r"SECRET_FILE=.* is empty; write a secret into it"):
        load_settings().closing.secrets()
    secrets.unlink()
    with pytest.raises(ConfigurationError, match=r"CLOSING__SECRET_FILE=.* cannot be read: No such file"):
        load_settings().closing.secrets()
    assert "give secret or secret_file, not both" in refusal(monkeypatch, CLOSING__SECRET=SECRET)


def test_how_closings_are_learned_is_a_setting_with_callbacks_as_its_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = [load_settings().closing]
    said += [load(monkeypatch, CLOSING__BY=by).closing for by in ("callbacks", "sweep", "both")]
    assert [(one.callbacks, one.sweep) for one in said] == [
        (True, False),
        (True, False),
        (False, True),
        (True, True),
    ]


@pytest.mark.parametrize("url", ["here:7244", "http://", "ftp://here/", "http://a:b@here/", "http://here/?x"])
def test_an_address_that_temporal_cannot_call_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert "is no address that Temporal can call" in refusal(monkeypatch, CLOSING__URL=url)


@pytest.mark.parametrize("url", ["http://here:7244", "https://turnout.shop/closing", "http://[::1]:7244/"])
def test_an_address_that_temporal_can_call_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert load(monkeypatch, CLOSING__URL=url).closing.url == url


@pytest.mark.parametrize(
    ("given", "header"),
    [
        ({}, ""),
        ({"USERNAME": "ada", "PASSWORD": SECRET}, f"Basic {b64encode(f'ada:{SECRET}'.encode()).decode()}"),
        ({"USERNAME": "ada", "PASSWORD_FILE": "file"}, "Basic YWRhOmluIGEgZmlsZQ=="),
        ({"TOKEN": SECRET}, f"Bearer {SECRET}"),
        ({"TOKEN_FILE": "file"}, "Bearer in a file"),
    ],
)
def test_a_registry_is_entered_by_password_or_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, str], header: str
) -> None:
    (tmp_path / "file").write_text("in a file\n")
    monkeypatch.chdir(tmp_path)
    names = {f"REGISTRY__{name}": value for name, value in given.items()}
    registry = load(monkeypatch, REGISTRY__URL="https://registry:8081/apis/ccompat/v7", **names).registry
    assert registry.authorization() == header
    assert SECRET not in repr(registry)


@pytest.mark.parametrize(
    ("mistake", "problem"),
    [
        ({"URL": "registry:8081"}, "is no address of a registry; write for example http://registry:8081"),
        ({"URL": f"http://ada:{SECRET}@registry"}, "and no password in it"),
        ({"URL": "http://registry/?a=b"}, "is no address of a registry"),
        ({"USERNAME": "ada"}, "username needs password or password_file, and these need username"),
        ({"PASSWORD": SECRET}, "username needs password or password_file, and these need username"),
        ({"TOKEN": SECRET, "TOKEN_FILE": "x"}, "give one of password, password_file, token and token_file"),
        (
            {"USERNAME": "a", "PASSWORD": SECRET, "TOKEN": SECRET},
            "give one of password, password_file, token",
        ),
        ({"TLS_KEY_FILE": "x"}, "tls_key_file needs tls_cert_file"),
    ],
)
def test_a_registry_that_cannot_be_entered_so_is_refused(
    monkeypatch: pytest.MonkeyPatch, mistake: dict[str, str], problem: str
) -> None:
    text = refusal(monkeypatch, **{f"REGISTRY__{name}": value for name, value in mistake.items()})
    assert problem in text
    assert SECRET not in text
