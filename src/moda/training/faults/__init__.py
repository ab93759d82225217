"""Signals, hangs, dead ranks and numbers that are not finite."""
