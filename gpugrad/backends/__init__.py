"""Executors of a Program; none of them knows the user's graph."""
