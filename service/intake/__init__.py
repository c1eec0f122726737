"""From polled records to committed offsets: the loop, its lanes, the handling of one record, the offsets."""
