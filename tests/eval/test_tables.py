"""Scores as text, in Markdown."""

from moda.eval.tables import markdown, tables_of


def test_no_table_is_said_in_words() -> None:
    assert tables_of({"metrics": {}, "rows": {}}) == [] and markdown([]) == "no score is defined"
