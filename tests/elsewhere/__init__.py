"""Programs in other languages, as other teams write them, and how the tests build and run them."""
