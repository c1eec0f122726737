"""The activity: work that may fail, and is tried again until it does not."""

from temporalio import activity


@activity.defn
async def words_for(name: str) -> str:
    """What to say to a visitor. Whatever is slow, or may fail, belongs into an activity."""
    return f"Hello {name}"
