"""Routes tried on records that are there: counted and compared, with no call made."""
