"""Checkpoints: archives of named arrays, and the file that lists the latest ones."""
