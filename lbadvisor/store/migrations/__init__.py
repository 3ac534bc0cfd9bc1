"""Alembic's environment: how a database file gets from one schema to the next."""
