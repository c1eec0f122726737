"""Apicurio Registry for tests: a schema registry with Confluent's interface, as a plain process in memory."""

import tarfile
import tempfile
from datetime import timedelta
from pathlib import Path

import aiohttp

from service.local import HOST, Child, LocalServer
from tests.servers import BUILD, alone, jars, java_version, random_port, why_no_jars

VERSION = "2.6.13.Final"
FOLDER = BUILD / f"apicurio-{VERSION}"

# The whole program in one archive: what it depends on is in it.
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>turnout.tests</groupId><artifactId>apicurio</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>io.apicurio</groupId><artifactId>apicurio-registry-app</artifactId><version>{VERSION}</version>
      <type>tar.gz</type><classifier>all</classifier>
      <exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>
    </dependency>
  </dependencies>
</project>
"""


def why_no_apicurio() -> str | None:
    """Say what is missing on this machine to run Apicurio Registry, or None when nothing is."""
    if java_version() < 17:
        return "Java 17 or newer"
    return why_no_jars(FOLDER, _POM)


def program() -> Path:
    """Return the folder with the program, 146 MB; the first time, it is fetched and unpacked."""
    fetched = jars(FOLDER, _POM)
    unpacked = fetched / "app"
    with alone(FOLDER):
        if not unpacked.exists():
            # Unpacked beside it and renamed when whole, so that an interrupted one is done again.
            with tempfile.TemporaryDirectory(dir=fetched) as scratch:
                with tarfile.open(next(fetched.glob("*.tar.gz"))) as archive:
                    archive.extractall(Path(scratch, "app"), filter="data")
                Path(scratch, "app").replace(unpacked)
            for archive_file in fetched.glob("*.tar.gz"):
                archive_file.unlink()
    return unpacked


class Apicurio(LocalServer):
    """A registry that forgets everything when it ends, with its log in `folder`."""

    def __init__(self, folder: Path) -> None:
        port = random_port()
        app = program()
        argv: list[str | Path] = ["java", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        argv += [f"-Dquarkus.http.host={HOST}", f"-Dquarkus.http.port={port}", "-jar"]
        argv += [app / f"apicurio-registry-app-{VERSION}-runner.jar"]
        child = Child("Apicurio Registry", argv, log_path=folder / "apicurio.log")
        super().__init__(child, port, patience=timedelta(seconds=120))

    @property
    def url(self) -> str:
        """Where it has Confluent's interface."""
        return f"http://{self.address}/apis/ccompat/v7"

    async def _answers(self) -> bool:
        timeout = aiohttp.ClientTimeout(total=5)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"{self.url}/schemas/types") as answer,
            ):
                return answer.status == 200
        except (aiohttp.ClientError, OSError):  # TimeoutError is one
            return False
