"""Graph to Program to better Program. Knows no device."""
