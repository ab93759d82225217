"""Numbers of what was read off many videos."""
