"""Numbers of things, as people say them."""


def counted(number: int, what: str) -> str:
    """`1 route`, `2 routes`."""
    return f"{number} {what}{'s' * (number != 1)}"
