"""moda: training framework for audio-driven talking heads."""

__version__ = "0.1.0"
