"""The schemas that results are written by, as route files name them: seen to be schemas before a start."""

from collections.abc import Iterator

from service.errors import ConfigurationError, Finding
from service.events.json_schema import SchemaMistakeError
from service.events.schemas import codec_of
from service.routing.grammar import RouteFile
from service.routing.reading import Document


def unusable_schemas(document: Document, file: RouteFile) -> Iterator[Finding]:
    """What is wrong with the schemas that `file` names."""
    for name, keys in file.topics.items():
        for type_, text in keys.schemas.items() if keys.out and keys.format != "json" else ():
            of_type = f" for {type_}" if type_ else ""
            try:
                codec = codec_of(keys.format, text)
            except (SchemaMistakeError, ConfigurationError) as error:
                problem = f"the schema{of_type} cannot be used: {error}"
            else:
                if keys.subject == "topic-name" or (len(codec.names) == 1 and codec.names[0]):
                    continue
                problem = f"the schema{of_type} has no name that a subject can be named for"
            yield document.at_value("TR203", ("topics", name, "schema"), problem)
