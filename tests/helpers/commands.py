"""Run the command line within the process of the tests."""

from gatezoo.cli import app as cli


def run(monkeypatch, capsys, *arguments):
    """Return (exit code, stdout, stderr) of ``gatezoo ARGUMENTS``."""
    monkeypatch.setattr("sys.argv", ["gatezoo", *map(str, arguments)])
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    out, err = capsys.readouterr()
    return code, out, err
