"""Scoring video files, of any method, under one protocol."""
