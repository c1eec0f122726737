"""What is written of routes for others: AsyncAPI, the schema for editors, pictures, the reference."""
