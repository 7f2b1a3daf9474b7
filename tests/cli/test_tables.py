"""Tables that go to a file or another program are whole."""

from rich.table import Table

from gatezoo.cli.tables import table_console


def test_no_column_of_a_table_is_cut_where_there_is_no_terminal(capsys):
    titles = [f"title of column {number}" for number in range(30)]
    table = Table(*titles)
    table.add_row(*(title.upper() for title in titles))
    table_console().print(table)
    printed = capsys.readouterr().out
    assert all(title in printed and title.upper() in printed for title in titles)
