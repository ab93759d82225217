"""Writing overrides in Hydra's grammar."""

import re


def quoted(text: str) -> str:
    """``text`` as a value in Hydra's grammar, whatever characters it holds."""
    escaped = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + match[2].replace("'", "\\'"), text)
    return f"'{escaped}'"
