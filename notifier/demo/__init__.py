"""A stand-in for the Kalshi API and a sink, real HTTP on loopback: no account."""
