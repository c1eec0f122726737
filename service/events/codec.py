"""The seam between bytes and plain JSON: what reads and writes one schema, and what it says of itself."""

from typing import Any, Literal, NamedTuple, Protocol

BytesFormat = Literal["json", "avro", "json-schema"]
"""How values are written. Another format is a name here, and a `SchemaCodec` in `schemas.compiled`."""

SubjectStrategy = Literal["topic-name", "record-name", "topic-record-name"]
"""What a registry keeps a schema under: `<topic>-value`, its full name, or `<topic>-<full name>`."""


class Decoded(NamedTuple):
    """What bytes mean: plain JSON, and the full name of the schema that they were written by."""

    data: Any
    schema: str = ""


class SchemaCodec(Protocol):
    """One schema: from bytes without their frame to plain JSON, and back.

    Neither method blocks, and both take bounded time, whatever they are given. `format` is the one that a
    topic declares, None of a schema that cannot be used; `content_type` is what a record says that is
    written with it.
    """

    format: BytesFormat | None
    content_type: str

    def decode(self, payload: bytes, *, what: str = "value") -> Decoded:
        """What `payload` means; `what` says for errors what it is.

        Raises:
            DecodeError: It is not of this schema, or beyond the limits; the text holds no payload values.
        """
        ...

    def encode(self, data: Any) -> bytes:
        """`data` as bytes; `decode` gives it back.

        Raises:
            ValueError: It does not fit the schema; the text names the field and no values.
        """
        ...


class SchemaMisfit(Exception):  # noqa: N818 - of the data or of the bytes, which their caller makes an error of
    """Something does not fit a schema; `path` grows on the way out, the outermost first."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []

    @property
    def place(self) -> str:
        """Where, as people read it: `lines.0.sku`; `""` if it is the whole."""
        return ".".join(self.path)

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}" if self.path else self.reason
