"""Milestone notifier."""
