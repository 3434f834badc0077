"""Shows the examples of docstrings as code in the API reference: griffe knows "Examples:" alone."""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Reads the heading "Example:" as "Examples:"."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called with each object of the package as its source is read."""
        if obj.docstring:
            text = obj.docstring.value
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", text, flags=re.M)
