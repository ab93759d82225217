"""What report pages are made with: templates, pictures, and plots that take their text colour from the page.

matplotlib is imported where it draws: nothing else here needs it, and it is slow to load.
"""

import base64
import io
import re
from typing import TYPE_CHECKING

import cv2
import jinja2
import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"  # stands for the page's own text colour until the SVG is written
COLOURS = {"ground truth": "#8a8f98", "model": "#2f7ed8", "mismatched audio": "#e0803a"}
STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "moda",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "legend.frameon": False,
}


def environment() -> jinja2.Environment:
    """Templates of eval/templates; whatever is put into them is escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("moda.eval"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def jpeg_url(rgb: np.ndarray) -> str:
    """A uint8 RGB picture as a data URL."""
    _, data = cv2.imencode(".jpg", rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def svg(figure: "Figure") -> str:
    """A figure drawn in ``INK``, for light and dark pages alike."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    # the page sets the width; the height follows from the view box
    return re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1), count=1
    )
