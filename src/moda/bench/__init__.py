"""Measurements of speed: what training reaches, what the hardware could, and what a cluster would."""
