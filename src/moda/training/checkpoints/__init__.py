"""Weights, moments and averages in pieces: how they are held, saved, restored and exported."""
