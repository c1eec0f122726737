"""In which partition a record lies, by its key."""

from aiokafka.partitioner import murmur2


def partition_number(key: bytes, partitions: int) -> int:
    """The partition that a producer chooses for `key` among so many.

    Source: DefaultPartitioner of aiokafka 0.14, which does as Java's client does.
    """
    return int((murmur2(key) & 0x7FFF_FFFF) % partitions)
