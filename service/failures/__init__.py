"""What happens to a record that cannot be handled."""
