"""The sample domain: a shop that fulfils orders."""
