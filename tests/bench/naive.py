"""The bridge that everybody writes first: read one record, make the call, commit, read the next."""

import json
import time

from aiokafka import AIOKafkaConsumer
from temporalio.client import Client

from tests.bench.job import Figures, Job, call
from tests.bench.meter import Meter


async def run(job: Job) -> Figures:
    """Carry out the job in order, one record at a time."""
    meter = Meter(job.warm, job.count)
    client = await Client.connect(job.temporal)
    consumer = AIOKafkaConsumer(
        job.topic,
        bootstrap_servers=job.kafka,
        group_id=job.run,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        while not meter.done.is_set():
            record = await consumer.getone()
            meter.taken()
            data = json.loads(record.value)
            called = time.time()
            await call(client, job, data)
            meter.accepted(time.time() - (called if job.latency == "call" else record.timestamp / 1000))
            await consumer.commit()
    finally:
        await consumer.stop()
    return meter.figures()
