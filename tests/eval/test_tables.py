"""Scores as text, in Markdown."""

from moda.eval.tables import markdown, markdown_of_rows, tables_of

METRIC = {"title": "|offset|", "unit": "", "group": "lips", "digits": 2, "better": "0", "meaning": ""}
NAN = float("nan")


def results(**scores) -> dict:
    """Of one column and a row a score; a score is a value, or a value and its interval."""
    return {
        "metrics": {"offset": METRIC},
        "rows": {
            name: {"title": name, "scores": {"offset": dict(zip(("value", "interval"), score, strict=True))}}
            for name, score in scores.items()
        },
    }


def test_no_table_is_said_in_words() -> None:
    assert tables_of({"metrics": {}, "rows": {}}) == [] and markdown([]) == "no score is defined"


def test_a_bar_in_a_title_is_no_border_of_a_cell() -> None:
    found = results(**{"a|b": (1.0, None), "c": (2.0, [1.0, 3.0])})
    assert markdown(tables_of(found)).splitlines() == [
        r"|            | a\|b |                 c |",
        r"| ---------- | ---: | ----------------: |",
        r"| \|offset\| | 1.00 | 2.00 [1.00, 3.00] |",
    ]
    assert markdown_of_rows(tables_of(found)[0]).splitlines() == [
        r"|  | \|offset\| |",
        "| --- | --: |",
        r"| a\|b | 1.00 |",
        r"| c | 2.00 [1.00, 3.00] |",
    ]


def test_what_is_not_a_number_prints_as_undefined() -> None:
    (table,) = tables_of(results(model=(NAN, [NAN, NAN]), other=(1.0, [NAN, 2.0])))
    assert [(cell.value, cell.interval) for _, [cell] in table.rows] == [("–", ""), ("1.00", "")]
    assert tables_of(results(model=(NAN, None))) == []
