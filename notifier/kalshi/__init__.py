"""EDGE in: Kalshi's milestone list. Its own names and spellings end here."""
