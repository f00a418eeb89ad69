"""The code blocks of the product document, as they stand, and what runs them.

The document is not part of this repository. It is found beside the checkout, as ``../shared/
nested-models.md``, or where $RAPYER_LISTINGS says. Without it pytest says so at its beginning and leaves
test_listings.py out; our own examples of the same shapes, in ../examples, are run in any case.
"""

import ast
import inspect
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
PLACES = (
    os.environ.get("RAPYER_LISTINGS", ""),
    os.path.join(ROOT, "..", "shared", "nested-models.md"),
    os.path.join(ROOT, "..", "..", "shared", "nested-models.md"),
)


def document():
    """The product document's path, or None."""
    return next((os.path.abspath(place) for place in PLACES if place and os.path.isfile(place)), None)


def blocks(path):
    with open(path, encoding="utf-8") as file:
        return re.findall(r"^```python\n(.*?)^```", file.read(), re.MULTILINE | re.DOTALL)


async def run(source, namespace, name="listing"):
    """Runs a block, of which the statements may await, in a namespace."""
    namespace.setdefault("__name__", "__main__")
    code = compile(source, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, namespace)
    if inspect.isawaitable(result):
        await result
    return namespace
