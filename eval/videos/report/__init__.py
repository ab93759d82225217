"""What comes out: results.json, tables, the page."""
