"""Draws the output of the command, out of a run on a terminal.

``python docs/pictures/command.py`` writes ``command-light.svg`` and ``command-dark.svg`` beside itself, or into the
folder that it is given. It needs the extra ``test``.
"""

import fcntl
import itertools
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from contextlib import suppress
from pathlib import Path

import pyte
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, SVG_EXPORT_THEME
from rich.text import Text

COLUMNS, LINES = 72, 50
COMMAND = "truebit-async wait --from ids.txt --out results.jsonl"
THEMES = {"light": DEFAULT_TERMINAL_THEME, "dark": SVG_EXPORT_THEME}
FONT_FACES = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # they would get fonts from another host


def run_command(folder: Path) -> str:
    """Run the command against a simulated dispatcher, and return what it writes to its terminal."""
    command = [sys.executable, "-m", "truebit_async"]
    with (
        (folder / "ids.txt").open("w") as ids,
        subprocess.Popen(  # noqa: S603
            [*command, "simulate", "--port", "0"], stdout=ids, stderr=subprocess.PIPE
        ) as simulator,
    ):
        assert simulator.stderr is not None  # noqa: S101
        url = re.findall(r"http://[\d.:]+\d", simulator.stderr.readline().decode())[0]
        environment = {
            **os.environ,
            "TRUEBIT_BASE_URL": url,
            "TERM": "xterm-256color",
            "PYTHONWARNINGS": "ignore",
        }
        ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", LINES, COLUMNS, 0, 0))
        with subprocess.Popen(  # noqa: S603
            [*command, *COMMAND.split()[1:]],
            cwd=folder,
            env=environment,
            stdin=its,
            stdout=its,
            stderr=its,
        ):
            os.close(its)
            written = b""
            with suppress(OSError):  # Linux raises EIO when the other end is closed
                while data := os.read(ours, 65536):
                    written += data
            os.close(ours)
        simulator.kill()
    return written.decode()


def screen_after(written: str) -> Text:
    """Return what is on the screen of a terminal at the end."""
    screen = pyte.Screen(COLUMNS, LINES)
    pyte.Stream(screen).feed(written)
    lines = []
    for row in range(screen.cursor.y):
        cells = [screen.buffer[row][column] for column in range(COLUMNS)]
        runs = itertools.groupby(cells, style_of)
        lines.append(Text.assemble(*(("".join(cell.data for cell in run), style) for style, run in runs)))
    return Text("\n").join(lines)


def style_of(cell: pyte.screens.Char) -> str:
    """Return the style that Rich has for a cell of the screen."""
    color = cell.fg.replace("brown", "yellow").replace("bright", "bright_")
    return " ".join(["bold"] * cell.bold + [f"#{color}" if re.fullmatch("[0-9a-f]{6}", color) else color])


def main(folder: Path) -> None:
    """Write the pictures into a folder."""
    with tempfile.TemporaryDirectory() as elsewhere:
        screen = screen_after(run_command(Path(elsewhere)))
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere)
        console.print(f"[bold]$ {COMMAND}[/]", highlight=False)
        console.print(screen)
    for name, theme in THEMES.items():
        svg = console.export_svg(title="", theme=theme, clear=False, unique_id=f"command-{name}")
        svg = re.sub(r"[ \t]+$", "", FONT_FACES.sub("", svg), flags=re.MULTILINE)
        (folder / f"command-{name}.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent)
