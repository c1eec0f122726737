"""Bearer tokens: only good ones pass, whatever comes; refusals and log lines say what to do, and no token."""

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import hypothesis
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from service.api.auth import MOST_TOKEN_CHARACTERS, Bearer, Caller, Kind, NotAllowed
from service.api.jwt_tokens import NAME_CHARACTERS, JwtTokens, Rules
from service.api.keys import MOST_BYTES, KeyFile, Keys, KeyServer, KeysMissing, KeySource, Patience
from service.api.tokens import StaticTokens
from service.callers import guarding
from service.errors import ConfigurationError
from service.settings import Settings, load_settings
from tests.issuer import AUDIENCE, ISSUER, Issuer, private_key, public_jwk

TOKEN = "5f4dcc3b5aa765d61d8327deb882cf99"
OTHER = "7c6a180b36896a0a8c02787eeafb0e4c"
PATIENCE = Patience(timedelta(minutes=5), timedelta(hours=1), timedelta(seconds=10))


UNHURRIED = hypothesis.settings(deadline=None, max_examples=50)


class Clock:
    """Monotonic seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Fixed:
    """A key source that answers with `answer`, or raises it."""

    def __init__(self, answer: bytes | KeysMissing) -> None:
        self.answer = answer
        self.asked = 0

    async def read(self) -> bytes:
        self.asked += 1
        if isinstance(self.answer, KeysMissing):
            raise self.answer
        return self.answer


def tokens_of(source: KeySource, clock: Clock | None = None, *algorithms: str) -> JwtTokens:
    allowed = algorithms or ("RS256", "ES256")
    keys = Keys(source, allowed, PATIENCE, clock or Clock())
    return JwtTokens(Rules(ISSUER, ("other", AUDIENCE), allowed), keys)


async def refusal(bearer: Bearer, authorization: str | None) -> NotAllowed:
    with pytest.raises(NotAllowed) as refused:
        await bearer.check(authorization)
    return refused.value


async def refused(kind: Kind, token: str) -> str:
    return (await refusal(Bearer([kind]), f"Bearer {token}")).reason


# What is common to all kinds.


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        (None, "a bearer token is needed"),
        ("", "a bearer token is needed"),
        ("Basic dXNlcjpwYXNz", "the header Authorization holds no bearer token"),
        (f"Bearer{TOKEN}", "the header Authorization holds no bearer token"),
        ("Bearer", "the header Authorization holds no bearer token"),
        (f"Bearer {TOKEN} {TOKEN}", "the header Authorization holds no bearer token"),
        (f"Bearer {TOKEN}\n", "the header Authorization holds no bearer token"),
        (f"Bearer {TOKEN}é", "the header Authorization holds no bearer token"),
        (f"Bearer {OTHER}", "the token is not known"),
        (f"Bearer {TOKEN[:-1]}", "the token is not known"),
        (f"Bearer {TOKEN}0", "the token is not known"),
        ("Bearer " + "a" * (MOST_TOKEN_CHARACTERS + 1), "the token is too long"),
    ],
)
async def test_what_is_no_known_token_is_refused(
    tmp_path: Path, authorization: str | None, reason: str
) -> None:
    error = await refusal(Bearer([static(tmp_path, TOKEN)]), authorization)
    assert error.reason == str(error) == reason
    assert not error.unavailable
    told = f'Bearer error="invalid_token", error_description="{reason}"'
    assert error.challenge == (told if authorization else "Bearer")


async def test_the_word_bearer_may_be_written_as_one_likes(tmp_path: Path) -> None:
    bearer = Bearer([static(tmp_path, f"orders {TOKEN}")])
    for authorization in (f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER   {TOKEN} "):
        assert await bearer.check(authorization) == Caller("orders", "token")


async def test_neither_a_refusal_nor_the_log_holds_a_token(tmp_path: Path) -> None:
    secret = Issuer.token(exp=-300.0)
    bearer = Bearer([static(tmp_path, TOKEN), tokens_of(Fixed(Issuer().key_set()))])
    header, payload, signature = secret.split(".")
    with capture_logs() as lines:
        for token in (OTHER, secret, f"{header}.{payload}.AAAA", f"{header}.{payload}x.{signature}"):
            error = await refusal(bearer, f"Bearer {token}")
            told = f"{error} {error!r} {error.why} {error.cure} {error.challenge} {lines}"
            assert error.__cause__ is None
            assert not [part for part in token.split(".") if part in told]
    assert [line["event"] for line in lines].count("a call was not let in") == 4


async def test_the_same_refusal_fills_no_log(tmp_path: Path) -> None:
    clock = Clock()
    bearer = Bearer([static(tmp_path, TOKEN)], clock)
    with capture_logs() as lines:
        for _ in range(50):
            await refusal(bearer, f"Bearer {OTHER}")
        await refusal(bearer, None)
        clock.now += 10
        await refusal(bearer, f"Bearer {OTHER}")
    assert [line["reason"] for line in lines] == [
        "the token is not known",
        "a bearer token is needed",
        "the token is not known",
    ]
    assert all(line["cure"] for line in lines)


@UNHURRIED
@given(st.text())
def test_any_text_is_refused_in_words(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any-text-tokens"
    file.write_text(TOKEN)
    bearer = Bearer([StaticTokens(file, "SETTING"), tokens_of(Fixed(Issuer().key_set()))])

    async def ask() -> None:
        for authorization in (text, f"Bearer {text}", f"Bearer {text}.{text}.{text}"):
            error = await refusal(bearer, authorization)
            assert error.reason
            error.challenge.encode("ascii")

    asyncio.run(ask())


SEGMENTS = st.one_of(
    st.binary(max_size=40),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["alg", "kid", "typ", "crit", "b64", "exp", "iss", "aud", "nbf", "sub"]),
                inner,
            )
        ),
        max_leaves=10,
    ).map(lambda value: json.dumps(value).encode()),
    st.sampled_from([b"[" * 3_000, b'{"alg":' * 500, b'{"alg":"RS256","kid":"one"}', b'{"alg":"none"}']),
)


def encoded(segment: bytes) -> str:
    return base64.urlsafe_b64encode(segment).decode().rstrip("=")


@UNHURRIED
@given(st.tuples(SEGMENTS, SEGMENTS, SEGMENTS))
def test_any_segments_are_refused_in_words(segments: tuple[bytes, bytes, bytes]) -> None:
    bearer = Bearer([tokens_of(Fixed(Issuer().key_set()))])
    error = asyncio.run(refusal(bearer, f"Bearer {'.'.join(map(encoded, segments))}"))
    assert error.reason
    assert not error.unavailable


# Static tokens.


def static(folder: Path, text: str, clock: Clock | None = None) -> StaticTokens:
    file = folder / "tokens"
    file.write_text(text)
    return StaticTokens(file, "TURNOUT_API__TOKEN_FILE", clock or Clock())


async def test_all_tokens_of_the_file_are_valid_each_with_its_name(tmp_path: Path) -> None:
    kind = static(tmp_path, f"# of the shop\n\n  orders\t{TOKEN}  \r\n{OTHER}\n")
    assert await kind.caller(TOKEN) == Caller("orders", "token")
    assert await kind.caller(OTHER) == Caller("token-30f0ca", "token")
    moved = static(tmp_path, f"{OTHER}\n{TOKEN}\n")
    assert await moved.caller(OTHER) == await kind.caller(OTHER) != await moved.caller(TOKEN)
    assert await kind.caller("orders") is None
    assert await kind.caller("#") is None


ALPHABET = st.sampled_from("abcABC019-._~+/")


@UNHURRIED
@given(
    st.sets(st.text(ALPHABET, min_size=16, max_size=20), min_size=1, max_size=5),
    st.text(ALPHABET, min_size=1),
)
def test_exactly_the_tokens_of_the_file_pass(
    tmp_path_factory: pytest.TempPathFactory, tokens: set[str], other: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "exactly-tokens"
    file.write_text("\n".join(tokens))
    kind = StaticTokens(file, "SETTING")

    async def ask() -> None:
        assert all([await kind.caller(token) for token in tokens])
        assert (await kind.caller(other) is not None) == (other in tokens)

    asyncio.run(ask())


async def test_tokens_rotate_without_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    kind = static(tmp_path, TOKEN, clock)
    (tmp_path / "tokens").write_text(f"{TOKEN}\n{OTHER}\n")
    clock.now += 1
    assert await kind.caller(TOKEN)
    assert await kind.caller(OTHER)
    (tmp_path / "new").write_text(OTHER)
    (tmp_path / "new").replace(tmp_path / "tokens")
    clock.now += 1
    assert await kind.caller(OTHER)
    assert await kind.caller(TOKEN) is None


async def test_a_file_that_cannot_be_used_any_more_is_forgiven_for_a_minute(tmp_path: Path) -> None:
    clock = Clock()
    kind = static(tmp_path, TOKEN, clock)
    (tmp_path / "tokens").write_text("")
    with capture_logs() as lines:
        for _ in range(60):
            clock.now += 1
            assert await kind.caller(TOKEN)
        clock.now += 1
        error = await refusal(Bearer([kind]), f"Bearer {TOKEN}")
    assert error.unavailable
    assert error.reason == "tokens cannot be checked at present"
    assert [line["event"] for line in lines] == [
        "tokens cannot be read again; those read last are valid for a minute more",
        "a call was not let in",
    ]
    (tmp_path / "tokens").write_text(TOKEN)
    clock.now += 1
    assert await kind.caller(TOKEN)


async def test_that_minute_begins_when_the_file_cannot_be_used_however_long_nobody_called(
    tmp_path: Path,
) -> None:
    clock = Clock()
    kind = static(tmp_path, TOKEN, clock)
    clock.now += 3_600
    (tmp_path / "tokens").write_text("")
    assert await kind.caller(TOKEN)
    clock.now += 61
    assert (await refusal(Bearer([kind]), f"Bearer {TOKEN}")).unavailable


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "holds no token; write one per line, which openssl rand -hex 32 makes"),
        (b"# nothing yet\n", "holds no token"),
        (b"short", "line 1 is no token of at least 16"),
        (b"a b " + TOKEN.encode(), "line 1 is no token of at least 16"),
        (TOKEN.encode() + b"\n" + "pässwörter-und-mehr".encode(), "line 2 is no token of at least 16"),
        (b"\xff\xfe\x00" * 9, "line 1 is no token of at least 16"),
        ("größe ".encode() + TOKEN.encode(), "the name in line 1 is not ASCII"),
        (TOKEN.encode() * (1 << 15) + b"a", "is larger than 1 MiB"),
    ],
)
def test_a_file_without_good_tokens_is_refused_at_start(tmp_path: Path, text: bytes, problem: str) -> None:
    file = tmp_path / "tokens"
    file.write_bytes(text)
    with pytest.raises(ConfigurationError) as error:
        StaticTokens(file, "TURNOUT_API__TOKEN_FILE")
    assert str(error.value).startswith(f"TURNOUT_API__TOKEN_FILE={file} {problem}")
    assert TOKEN not in str(error.value)


# Signed tokens.


async def test_a_good_token_passes() -> None:
    kind = tokens_of(Fixed(Issuer().key_set()))
    assert await kind.caller(Issuer.token()) == Caller("orders", "jwt")
    assert await kind.caller(Issuer.token(aud=["someone", AUDIENCE]))
    assert await kind.caller(Issuer.token(exp=-5.0)), "the clocks of two machines differ"
    assert await kind.caller(Issuer.token(nbf=5.0))
    assert await kind.caller(Issuer.token(headers={})), "with one key there is no doubt"
    assert await kind.caller("a.b") is None
    assert await kind.caller(TOKEN) is None


async def test_keys_of_all_kinds_that_are_allowed_work() -> None:
    entries = [public_jwk("one"), public_jwk("curve", "ec"), public_jwk("edwards", "ed")]
    source = Fixed(json.dumps({"keys": entries}).encode())
    kind = tokens_of(source, None, "RS256", "PS512", "ES256", "EdDSA")
    assert await kind.caller(Issuer.token("one", algorithm="PS512"))
    assert await kind.caller(Issuer.token("one", algorithm="RS256"))
    assert await kind.caller(Issuer.token("curve", kind="ec", algorithm="ES256"))
    assert await kind.caller(Issuer.token("edwards", kind="ed", algorithm="EdDSA"))


async def test_who_names_no_subject_is_called_as_its_client() -> None:
    kind = tokens_of(Fixed(Issuer().key_set()))
    assert await kind.caller(Issuer.token(without=("sub",), client_id="shop")) == Caller("shop", "jwt")
    assert await kind.caller(Issuer.token(without=("sub",))) == Caller("?", "jwt")
    caller = await kind.caller(Issuer.token(sub="a\nb" + "c" * 500))
    assert caller
    assert caller.name == "a?b" + "c" * 197


async def test_callers_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Else the idempotency key of one would repeat what another did."""
    jwt, long = tokens_of(Fixed(Issuer().key_set())), "x" * NAME_CHARACTERS
    tokens = [Issuer.token(sub=name) for name in ("orders", long + "1", long + "2", "a\x00", "a\x01")]
    tokens += [Issuer.token(without=("sub",), client_id="orders")]
    tokens += [Issuer.token(without=("sub",), jti=str(number)) for number in range(2)]
    callers = [await jwt.caller(token) for token in tokens]
    callers.append(await static(tmp_path, f"orders {TOKEN}").caller(TOKEN))
    assert len({caller.identity for caller in callers if caller}) == len(callers) == 9
    again = await jwt.caller(Issuer.token(sub="orders", jti="another"))
    assert again is not None
    assert callers[0] is not None
    assert again.identity == callers[0].identity


PUBLIC_PEM = (
    private_key("one")
    .public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
)


def signed_with_the_public_key() -> str:
    """What a library that believes `alg` takes: the public key as the secret of an HMAC."""
    import hashlib
    import hmac

    head = encoded(b'{"alg":"HS256","kid":"one"}')
    body = encoded(json.dumps({"iss": ISSUER, "aud": AUDIENCE, "sub": "x", "exp": 1 << 40}).encode())
    digest = hmac.new(PUBLIC_PEM, f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{encoded(digest)}"


def unsigned() -> str:
    return jwt.encode({"iss": ISSUER, "aud": AUDIENCE, "exp": 1 << 40}, "", "none", headers={"kid": "one"})


OTHER_WAY = "the token is signed in a way that is not accepted"
UNKNOWN_KEY = "the token is signed with a key that is not known"


@pytest.mark.parametrize(
    ("token", "reason"),  # made when it is needed: tokens expire while the tests run
    [
        (lambda: Issuer.token(exp=-300.0), "the token has expired"),
        (lambda: Issuer.token(nbf=300.0), "the token is not valid yet"),
        (lambda: Issuer.token(iat=300.0), "the token is not valid yet"),
        (lambda: Issuer.token(aud="someone"), "the token is for another audience"),
        (lambda: Issuer.token(aud=[]), "the token lacks exp, iss or aud"),
        (lambda: Issuer.token(iss=f"{ISSUER}/"), "the token is of another issuer"),
        (lambda: Issuer.token(without=("exp",)), "the token lacks exp, iss or aud"),
        (lambda: Issuer.token(without=("iss",)), "the token lacks exp, iss or aud"),
        (lambda: Issuer.token(without=("aud",)), "the token lacks exp, iss or aud"),
        (lambda: Issuer.token("two", headers={"kid": "one"}), "the token's signature is wrong"),
        (lambda: Issuer.token()[:-8] + "AAAAAAAA", "the token's signature is wrong"),
        (lambda: Issuer.token("two"), UNKNOWN_KEY),
        (lambda: Issuer.token("curve", kind="ec", algorithm="ES256", headers={"kid": "one"}), UNKNOWN_KEY),
        (lambda: Issuer.token(algorithm="RS512"), OTHER_WAY),
        (unsigned, OTHER_WAY),
        (signed_with_the_public_key, OTHER_WAY),
        (
            lambda: Issuer.token(headers={"kid": "one", "crit": ["x"], "x": 1}),
            "the token is no JSON Web Token that can be read",
        ),
        (lambda: "..", "the token is no JSON Web Token that can be read"),
    ],
)
async def test_a_token_that_is_not_good_is_refused(token: Callable[[], str], reason: str) -> None:
    assert await refused(tokens_of(Fixed(Issuer().key_set())), token()) == reason


def test_no_signature_of_a_secret_is_taken_even_if_someone_asks_for_it() -> None:
    for algorithms in ("HS256", "none", "RS256,HS256", "rs256", ","):
        with pytest.raises(ValueError, match="write some of RS256"):
            Settings(api={"jwt": {"jwks": "f", "issuer": "i", "audience": "a", "algorithms": algorithms}})


@pytest.mark.parametrize("change", range(3))
@UNHURRIED
@given(data=st.data())
def test_a_token_with_one_changed_character_is_refused(change: int, data: st.DataObject) -> None:
    parts = Issuer.token().split(".")
    at = data.draw(st.integers(0, len(parts[change]) - 1))
    other = data.draw(st.sampled_from("ABCxyz019-_").filter(lambda one: one != parts[change][at]))
    parts[change] = parts[change][:at] + other + parts[change][at + 1 :]
    assert asyncio.run(refused(tokens_of(Fixed(Issuer().key_set())), ".".join(parts)))


async def test_without_an_id_several_keys_leave_a_doubt() -> None:
    kind = tokens_of(Fixed(Issuer("one", "two").key_set()))
    assert await refused(kind, Issuer.token(headers={})) == (
        "the token does not say which key it was signed with"
    )


# The keys of the issuer.


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    issuer = Issuer()
    async with issuer.serving():
        yield issuer


async def test_a_new_key_is_fetched_when_a_token_names_it(issuer: Issuer) -> None:
    clock = Clock()
    kind = tokens_of(KeyServer(issuer.url), clock)
    assert await kind.caller(Issuer.token("one"))
    issuer.names = ["two", "one"]
    clock.now += 10
    assert await kind.caller(Issuer.token("two"))
    assert await kind.caller(Issuer.token("one"))
    assert issuer.asked == 2


async def test_unknown_keys_do_not_make_us_ask_more_often(issuer: Issuer) -> None:
    clock = Clock()
    kind = tokens_of(KeyServer(issuer.url), clock)
    for number in range(20):
        assert await refused(kind, Issuer.token("two", headers={"kid": str(number)})) == UNKNOWN_KEY
    assert issuer.asked == 1
    clock.now += 10
    await asyncio.gather(*(refused(kind, Issuer.token("two", headers={"kid": str(n)})) for n in range(20)))
    assert issuer.asked == 2


async def test_a_key_that_was_taken_out_ends(issuer: Issuer) -> None:
    clock = Clock()
    kind = tokens_of(KeyServer(issuer.url), clock)
    assert await kind.caller(Issuer.token("one"))
    issuer.names = ["two"]
    clock.now += 301
    assert await refused(kind, Issuer.token("one")) == UNKNOWN_KEY


async def test_while_the_key_server_is_away_old_keys_go_on_and_then_it_is_said(issuer: Issuer) -> None:
    clock = Clock()
    kind = tokens_of(KeyServer(issuer.url), clock)
    assert await kind.caller(Issuer.token())
    issuer.status = 500
    with capture_logs() as lines:
        for _ in range(11):
            clock.now += 300
            assert await kind.caller(Issuer.token())
        error = await refusal(Bearer([kind]), f"Bearer {Issuer.token('two')}")
        assert error.unavailable, "it may be a new one"
        clock.now += 301
        error = await refusal(Bearer([kind]), f"Bearer {Issuer.token()}")
    assert error.unavailable
    assert error.why == f"the keys of the issuer cannot be had: {issuer.url} answers HTTP 500"
    assert [line["event"] for line in lines if line["event"].startswith("keys")] == [
        "keys of the issuer cannot be read"
    ]
    issuer.status = 200
    clock.now += 10
    assert await kind.caller(Issuer.token())


async def test_nobody_waits_twice_for_a_key_server_that_is_silent(issuer: Issuer) -> None:
    clock = Clock()
    kind = tokens_of(KeyServer(issuer.url), clock)
    assert await kind.caller(Issuer.token())
    issuer.status = 500
    clock.now += 301
    assert await kind.caller(Issuer.token())
    issuer.hold()
    clock.now += 10
    async with asyncio.timeout(2):
        assert await kind.caller(Issuer.token()), "it is asked in the background"
        await issuer.asking.wait()
    await kind.close()
    issuer.let_go()


async def test_who_waits_for_keys_may_leave_the_others_waiting(issuer: Issuer) -> None:
    issuer.hold()
    kind = tokens_of(KeyServer(issuer.url))
    leaving = asyncio.create_task(kind.caller(Issuer.token()))
    staying = asyncio.create_task(kind.caller(Issuer.token()))
    await issuer.asking.wait()
    leaving.cancel()
    issuer.let_go()
    assert await staying
    assert issuer.asked == 1


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "is no key set: no JSON object with a list `keys`"),
        (b"<html>", "is no key set"),
        (b"[]", "is no key set"),
        (b'{"keys": 1}', "is no key set"),
        (b"\xff\xfe", "is no key set"),
        (b"[" * 100_000, "is no key set"),
        (b'{"keys": []}', "makes signatures of RS256, ES256; see TURNOUT_API__JWT__ALGORITHMS"),
        (b'{"keys": [{"kty": "RSA", "n": "AQAB", "e": 1}, {"kty": "oct", "k": "AAAA"}, 7]}', "none of the 2"),
        (json.dumps({"keys": [public_jwk("weak", "weak")]}).encode(), "none of the 1 keys"),
        (json.dumps({"keys": [public_jwk("one", use="enc")]}).encode(), "none of the 1 keys"),
        (json.dumps({"keys": [public_jwk("one", alg="RS512")]}).encode(), "none of the 1 keys"),
        (b" " * (MOST_BYTES + 1), "is larger than 1 MiB"),
    ],
)
async def test_what_is_no_key_set_is_said(issuer: Issuer, body: bytes, problem: str) -> None:
    issuer.body = body
    keys = Keys(KeyServer(issuer.url), ("RS256", "ES256"), PATIENCE)
    assert problem in await keys.read()


@UNHURRIED
@given(st.binary())
def test_any_key_set_is_read_or_refused_in_words(text: bytes) -> None:
    assert asyncio.run(Keys(Fixed(text), ("RS256",), PATIENCE).read())


async def test_a_redirect_of_the_key_server_is_not_followed(issuer: Issuer) -> None:
    issuer.status = 302
    keys = Keys(KeyServer(issuer.url), ("RS256",), PATIENCE)
    assert await keys.read() == f"{issuer.url} answers HTTP 302"
    assert issuer.asked == 1


async def test_a_key_server_that_is_not_there_is_said(issuer: Issuer) -> None:
    keys = Keys(KeyServer("http://127.0.0.1:1/keys"), ("RS256",), PATIENCE)
    assert (await keys.read()).startswith("http://127.0.0.1:1/keys does not answer: ")


async def test_a_private_key_in_the_set_does_no_harm() -> None:
    private = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private_key("one")))
    source = Fixed(json.dumps({"keys": [{**private, "kid": "one"}]}).encode())
    assert await tokens_of(source).caller(Issuer.token())


# From the settings.


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("TURNOUT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TURNOUT_GROUP", "shop-turnout")
    return monkeypatch


def settings(environment: pytest.MonkeyPatch, **values: object) -> Settings:
    for name, value in values.items():
        environment.setenv(f"TURNOUT_API__{name}", str(value))
    return load_settings()


async def test_without_tokens_nobody_is_asked_for_one(environment: pytest.MonkeyPatch) -> None:
    api = settings(environment).api
    assert not api.guarded
    async with guarding(api) as bearer:
        assert bearer is None


async def test_both_kinds_work_beside_each_other(
    environment: pytest.MonkeyPatch, tmp_path: Path, issuer: Issuer
) -> None:
    (tmp_path / "tokens").write_text(f"orders {TOKEN}")
    api = settings(
        environment,
        TOKEN_FILE=tmp_path / "tokens",
        JWT__JWKS=issuer.url,
        JWT__ISSUER=ISSUER,
        JWT__AUDIENCE=AUDIENCE,
    ).api
    assert api.guarded
    async with guarding(api) as bearer:
        assert bearer
        assert await bearer.check(f"Bearer {TOKEN}") == Caller("orders", "token")
        assert await bearer.check(f"Bearer {Issuer.token()}") == Caller("orders", "jwt")
        assert (await refusal(bearer, f"Bearer {OTHER}")).reason == "the token is not known"


async def test_keys_in_a_file_rotate_too(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(Issuer("one").key_set())
    clock = Clock()
    kind = tokens_of(KeyFile(file), clock)
    assert await kind.caller(Issuer.token())
    file.write_bytes(Issuer("two").key_set())
    clock.now += 301
    assert await kind.caller(Issuer.token("two"))
    file.unlink()
    given: dict[str, Any] = {"JWT__JWKS": file, "JWT__ISSUER": ISSUER, "JWT__AUDIENCE": AUDIENCE}
    with pytest.raises(ConfigurationError, match=r"TURNOUT_API__JWT__JWKS=.*No such file"):
        async with guarding(settings(environment, **given).api):
            pass


async def test_a_key_server_that_is_away_holds_up_no_start(environment: pytest.MonkeyPatch) -> None:
    given = {"JWT__JWKS": "http://localhost:1/keys", "JWT__ISSUER": ISSUER, "JWT__AUDIENCE": AUDIENCE}
    async with guarding(settings(environment, **given).api) as bearer:
        assert bearer
        assert (await refusal(bearer, f"Bearer {Issuer.token()}")).unavailable


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"HTTP_ADDRESS": "0.0.0.0:80"}, "others than this machine reach 0.0.0.0:80, and anybody could call"),
        ({"GRPC_ADDRESS": "shop:80"}, "TURNOUT_API__TOKEN_FILE or TURNOUT_API__JWT__JWKS, or 127.0.0.1"),
        ({"GRPC_TLS_CERT_FILE": "c.pem"}, "grpc_tls_cert_file needs grpc_tls_key_file"),
        ({"JWT__JWKS": "keys.json"}, "write TURNOUT_API__JWT__ISSUER and TURNOUT_API__JWT__AUDIENCE, too"),
        ({"JWT__ISSUER": "i", "JWT__AUDIENCE": "a"}, "write TURNOUT_API__JWT__JWKS, too"),
        (
            {"JWT__JWKS": "f", "JWT__ISSUER": "i", "JWT__AUDIENCE": " ,"},
            "write TURNOUT_API__JWT__AUDIENCE, too",
        ),
        ({"JWT__ALGORITHMS": "ES256"}, "write TURNOUT_API__JWT__JWKS and TURNOUT_API__JWT__ISSUER and"),
        ({"JWT__JWKS": "http://login.shop/keys"}, "write https://, or a file"),
        ({"JWT__JWKS": "https://user:secret@login.shop/keys"}, "write for example https://login.shop/"),
        ({"JWT__KEYS_KEPT": "soon"}, "is no time span"),
        ({"TOKENS": "x"}, "did you mean TURNOUT_API__TOKEN_FILE?"),
    ],
)
def test_half_of_the_settings_are_refused(
    environment: pytest.MonkeyPatch, given: dict[str, str], problem: str
) -> None:
    with pytest.raises(ConfigurationError) as error:
        settings(environment, **given)
    assert problem in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("module", ["jwt", "httpx"])
async def test_without_the_extra_it_is_named(
    environment: pytest.MonkeyPatch, issuer: Issuer, module: str
) -> None:
    environment.setitem(sys.modules, module, None)
    given = {"JWT__JWKS": issuer.url, "JWT__ISSUER": ISSUER, "JWT__AUDIENCE": AUDIENCE}
    with pytest.raises(ConfigurationError, match=r"needs the extra `api`; .*turnout\[api\]"):
        async with guarding(settings(environment, **given).api):
            pass


def test_a_ca_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for file in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(ConfigurationError, match=r"TURNOUT_API__JWT__TLS_CA_FILE=.*in PEM"):
            KeyServer("https://login.shop", file)
