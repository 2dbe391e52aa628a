"""The console that runs the Python snippets of a page one after the other, as ``python -m asyncio`` would.

It reads each snippet as a line of JSON, and answers with a line that holds its output and its error.
"""

from __future__ import annotations

import ast
import asyncio
import gc
import inspect
import io
import json
import os
import sys
import traceback
import types

OUTPUT = io.StringIO()
LEFT_BEHIND: list[str] = []
CONSOLE = types.ModuleType("__main__")


async def type_in(path: str, line: int, source: str) -> str:
    try:
        # The empty lines make the line numbers of tracebacks those of the page.
        code = compile("\n" * line + source, path, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        result = types.FunctionType(code, vars(CONSOLE))()
        if inspect.iscoroutine(result):
            await result
    except BaseException as error:  # noqa: BLE001  # also SystemExit: a snippet must not end the console
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
        return "".join(traceback.format_exception(error))
    gc.collect()  # finds client sessions that were not closed and coroutines that were not awaited
    return "".join(LEFT_BEHIND)


def note_left_behind(left: sys.UnraisableHookArgs) -> None:
    LEFT_BEHIND.extend(traceback.format_exception(left.exc_value))


async def main() -> None:
    snippets, answers = sys.stdin, os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the output of programs that a snippet starts is not an answer
    sys.stdout = sys.stderr = OUTPUT
    sys.unraisablehook = note_left_behind
    sys.modules["__main__"] = CONSOLE
    sys.path[0] = ""  # imports start in the page's folder
    while snippet := await asyncio.to_thread(snippets.readline):
        problem = await type_in(**json.loads(snippet))
        json.dump({"output": OUTPUT.getvalue(), "problem": problem}, answers)
        answers.write("\n")
        answers.flush()
        OUTPUT.truncate(OUTPUT.seek(0))
        LEFT_BEHIND.clear()


asyncio.run(main())
