"""Decisions, pure: no await, clock, random, environment or log in here."""
