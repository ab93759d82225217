"""Tables for a paper."""

from video_support import PROTOCOL

from moda.eval.videos.report.latex import latex


def results(title: str = "FID", **values: float | None) -> dict:
    """Of one column and a method a value."""
    return {
        "protocol": {**PROTOCOL.to_dict(), "fingerprint": PROTOCOL.fingerprint},
        "metrics": {"FID": {"title": title, "unit": "", "better": "lower", "group": "pictures", "digits": 1}},
        "rows": {
            name: {"title": name, "kind": "method", "scores": {"FID": {"value": value, "interval": None}}}
            for name, value in values.items()
        },
    }


def lines(found: dict) -> dict[str, str]:
    """First cell of a row -> the rest of it."""
    rows = [line.removesuffix(r" \\").split(" & ") for line in latex(found).splitlines() if " & " in line]
    return {first: rest for first, rest in rows}


def test_what_is_not_a_number_is_undefined_and_has_no_rank() -> None:
    for undefined in (float("nan"), None):
        found = lines(results(bad=undefined, worst=9.0, good=1.0, fair=3.0))
        assert found["bad"] == "--" and found["worst"] == "9.0"
        assert found["good"] == r"\textbf{1.0}" and found["fair"] == r"\underline{3.0}"
    assert lines(results(bad=float("nan"), alone=1.0))["alone"] == "1.0"


def test_bars_and_brackets_print_as_themselves() -> None:
    found = lines(results("|offset|", **{"a<b>": 1.0}))
    assert found[""] == r"\textbar{}offset\textbar{} $\downarrow$"
    assert found[r"a\textless{}b\textgreater{}"] == "1.0"
