# noqa: INP001 - no package: copied into the image
"""Starts a Kafka broker with the settings that the environment says, as the image apache/kafka does."""

import os
import subprocess
import sys
from pathlib import Path

PROPERTIES = Path("/tmp/server.properties")
LOGGING = Path("/tmp/log4j2.properties")
LOG = """rootLogger.level=warn
rootLogger.appenderRef.out.ref=OUT
appender.out.type=Console
appender.out.name=OUT
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{HH:mm:ss.SSS} %p %c{1}: %m%n
"""
NOT_SETTINGS = {"KAFKA_HEAP_OPTS", "KAFKA_OPTS"}


def name_of(variable: str) -> str:
    """The broker's name for `variable`: `_` is a dot, `__` is `_`, `___` is `-`."""
    name = variable.removeprefix("KAFKA_").lower()
    return name.replace("___", "-").replace("__", "\0").replace("_", ".").replace("\0", "_")


def main() -> None:
    """Format the data folder the first time, then become the broker."""
    settings = {
        name_of(name): value
        for name, value in os.environ.items()
        if name.startswith("KAFKA_") and name not in NOT_SETTINGS
    }
    settings.setdefault("log.dirs", "/var/lib/kafka/data")
    PROPERTIES.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    LOGGING.write_text(LOG)
    heap = os.environ.get("KAFKA_HEAP_OPTS", "-Xmx512m -Xms256m").split()
    java = ["java", f"-Dlog4j2.configurationFile={LOGGING}", "-XX:+UseSerialGC", "-cp", "/opt/kafka/libs/*"]
    if not Path(settings["log.dirs"], "meta.properties").exists():
        cluster = os.environ.get("CLUSTER_ID", "5L6g3nShT-eMCtK--X86sw")
        tool = [*java, "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format"]
        done = subprocess.run([*tool, "-t", cluster, "-c", str(PROPERTIES)], check=False)
        if done.returncode:
            sys.exit(done.returncode)
    os.execvp("java", [*java, *heap, "kafka.Kafka", str(PROPERTIES)])


main()
