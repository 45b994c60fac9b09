"""Running graphs: sessions, functions, compiled plans, variables."""
