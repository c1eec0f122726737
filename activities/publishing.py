"""The activity that publishes result events."""

import asyncio
from contextlib import suppress

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.heartbeats import heartbeats
from activities.ports import Published, ResultEvent, ResultPublisher


class PublishingActivities:
    """Activities that write result events through `publisher`."""

    def __init__(self, publisher: ResultPublisher) -> None:
        self._publisher = publisher

    @activity.defn
    async def publish(self, event: ResultEvent) -> Published:
        """Publish `event`; repeatable, since its id does not depend on the attempt.

        From the second attempt on, the record of an earlier one is looked for before another is written.
        The attempt ends only when the record is acknowledged or the producer closed: a request
        to cancel it is not obeyed, because the record may be on its way already.

        Raises:
            ApplicationError: `ResultInvalid`, not to be tried again: it can never be an event.
        """
        async with heartbeats():
            return await published(self._publisher, with_its_past(event))


async def published(publisher: ResultPublisher, event: ResultEvent) -> Published:
    """Publish `event`; a request to cancel, which comes meanwhile, is not obeyed.

    Raises:
        ApplicationError: `ResultInvalid`, not to be tried again: it can never be an event.
    """
    sending = asyncio.ensure_future(publisher.publish(event))
    while not sending.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({sending})
    try:
        return sending.result()
    except ValueError as error:
        raise ApplicationError(str(error), type="ResultInvalid", non_retryable=True) from error


def with_its_past(event: ResultEvent) -> ResultEvent:
    """`event`, which says so if an earlier attempt of this activity may have written it."""
    info = activity.info()
    if info.attempt == 1 or event.tried_since:
        return event
    return event.model_copy(update={"tried_since": info.scheduled_time})
