"""Which events lead to which commands: the grammar of route files and the table made from them."""
