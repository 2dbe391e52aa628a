"""Public names in the documentation: objects have the names that users import, and names in the text are links."""

import enum
import inspect
import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform

import truebit_async
from truebit_async import Tasks, audit, checkpoint, errors, events, otel, policy, sharding, strategies, tasks, testing

MODULES = (truebit_async, policy, strategies, tasks, checkpoint, sharding, audit, otel, testing)
"""A name that several of them have is imported from the first."""

PATHS = {name: f"{module.__name__}.{name}" for module in reversed(MODULES) for name in module.__all__}
"""Where users import each public name from."""

SHORTER = {
    "~collections.abc.Callable[[~truebit_async.events.PollEvent], None]": "~truebit_async.Listener",
    "~tenacity.wait.wait_base | ~collections.abc.Callable[[~tenacity.RetryCallState], float]": (
        "~truebit_async.policy.WaitStrategy"
    ),
    "~datetime.datetime | ~collections.abc.Callable[[str], ~datetime.datetime | None] | None": (
        "~truebit_async.tasks.SubmissionTimes"
    ),
    "float | ~types.EllipsisType | None": "float | None",
    "= Ellipsis": "= ...",
    "= NOTHING": "= ...",
}
"""Shorter forms in signatures: names of types, and ``...`` for defaults that are made for each call."""

TYPE_VARIABLE = re.compile(r"truebit_async\..*\.((?:Task|Execution|Output)T)(?:_co)?")
"""The pages that show one say what it stands for."""

MADE_BY_THE_PACKAGE = (errors.TruebitError, events.PollEvent, enum.Enum, Tasks, strategies.PollState, testing.Reply)


def public_path(target: str) -> str | None:
    """Return the path that users import, for one such as ``truebit_async.models.common.Outcome.tag``."""
    module = re.match(r"truebit_async(\.[a-z_0-9]+)*\.", target)
    name, _, member = target[module.end() if module else 0 :].partition(".")
    if module is None or name not in PATHS:
        return None
    return f"{PATHS[name]}.{member}" if member else PATHS[name]


def link_public_path(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, text: nodes.TextElement
) -> nodes.Node | None:
    """Link a name of the module that defines an object, as annotations have it, to the object in the reference."""
    if variable := TYPE_VARIABLE.fullmatch(node["reftarget"]):
        return nodes.Text(variable[1])
    path = public_path(node["reftarget"])
    if path in {None, node["reftarget"]}:
        return None
    return env.domains.python_domain.resolve_xref(env, node["refdoc"], app.builder, "obj", path, node, text)


class LinkPublicNames(SphinxPostTransform):
    """Makes a link of each public class in the text, such as ``TruebitError``, and of what it has, as ``Tasks.run``.

    Functions are left out, since ``wait_for_verification`` is most often the method of a session.
    """

    default_priority = 5  # before references are resolved

    def run(self, **_: object) -> None:
        """Replace the literals of a page."""
        for literal in list(self.document.findall(nodes.literal)):
            text = literal.astext().removesuffix("()")
            path = public_path(f"truebit_async.{text}") if text[:1].isupper() else None
            if path is None or isinstance(literal.parent, nodes.title | nodes.reference | addnodes.pending_xref):
                continue
            link = addnodes.pending_xref(
                "", refdomain="py", reftype="obj", reftarget=path, refdoc=self.env.docname, refwarn=True
            )
            literal.replace_self(link)
            link += literal


class BreakNamesInTables(SphinxPostTransform):
    """Lets a browser break names in tables between words, as ``Request|TimeoutError``; pages.css says when."""

    default_priority = 300  # after links are made
    formats = ("html",)

    def run(self, **_: object) -> None:
        """Divide the literals of all tables of a page."""
        for entry in self.document.findall(nodes.entry):
            for literal in list(entry.findall(nodes.literal)):
                first, *others = re.split(r"(?<=[a-z])(?=[A-Z])|(?<=[a-z][._])(?=[a-z])", literal.astext())
                literal.children = [nodes.Text(first)]
                for word in others:
                    literal += [nodes.raw("", "<wbr>", format="html"), nodes.Text(word)]


def shorten(text: str) -> str:
    """Write a signature or a type as users would."""
    for long, short in SHORTER.items():
        text = text.replace(long, short)
    return text


def shorten_signature(
    app: Sphinx, what: str, name: str, thing: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Leave out how the package makes its own objects, and write defaults that are no values as ``...``."""
    if inspect.isclass(thing) and issubclass(thing, MADE_BY_THE_PACKAGE):
        return "", returned
    return signature and shorten(signature), returned


def shorten_types(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Show the type of an attribute beside its name, and leave out the parameters of what only the package makes."""
    attribute = 0
    for at, line in enumerate(lines):  # the length of the list stays the same
        if line.startswith(".. attribute::"):
            attribute = at
        elif line.startswith("   :type: "):
            del lines[at]
            without_class_variable = re.sub(r"\bClassVar\[(.*)\]", r"\1", line)
            without_modules = re.sub(r"(?<![\w.~])(?=[a-z_]+\.)", "~", without_class_variable)
            lines.insert(attribute + 1, shorten(without_modules))
    if thing is Tasks:
        lines[:] = [line for line in lines if not line.startswith((":param", "   "))]


def write_tree_of_errors(app: Sphinx) -> None:
    """Write the tree of errors in the docstring of `errors` to a page, with links."""
    tree = (errors.__doc__ or "").partition("::\n\n")[2].partition("\n\n")[0]
    linked = re.sub(
        r"\b\w+Error\b", lambda name: f"{{py:exc}}`~{PATHS[name[0]]}`" if name[0] in PATHS else name[0], tree
    )
    target = Path(app.srcdir, "_generated", "errors.md")
    target.parent.mkdir(exist_ok=True)
    target.write_text(f"```{{parsed-literal}}\n{inspect.cleandoc(linked)}\n```\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the event handlers. Sphinx calls this."""
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.napoleon")
    app.connect("builder-inited", write_tree_of_errors)
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("autodoc-process-docstring", shorten_types, priority=600)  # after Napoleon
    app.connect("missing-reference", link_public_path)
    app.add_post_transform(LinkPublicNames)
    app.add_post_transform(BreakNamesInTables)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
