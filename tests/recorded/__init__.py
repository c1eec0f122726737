"""Bytes that other programs wrote, and what they meant by them."""
