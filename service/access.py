"""Settings become what a client of Temporal connects with."""

from service.settings import Settings
from service.temporal.access import Access


def temporal_access(settings: Settings) -> Access:
    """How to reach the configured Temporal, and who can read what is sent there."""
    return Access(
        api_key_file=settings.temporal.api_key_file,
        keys_file=settings.encryption.keys_file,
        allow_insecure=settings.temporal.allow_insecure,
    )
