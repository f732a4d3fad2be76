"""Validation of all function calls, from the page, from `gradio_client`, or by plain HTTP.

gradio lets clients call any function of a page by its number with any values, and its components validate little. This
module checks that each value is one that its component can send, and looks up files in the table of uploads. Invalid
calls get an error of one sentence.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any

import gradio as gr

from sound import SoundError
from uploads import Uploads

APOLOGY = "Something went wrong on the server, not because of your sound: try again, or report the problem."
GONE = "This sound is no longer stored, because sounds are erased after a while: upload it again."


class Page(gr.Blocks):
    """The interface of a Space.

    Args:
        uploads: The table of uploads.
        **options: As for `gr.Blocks`.
    """

    def __init__(self, uploads: Uploads, **options: Any) -> None:
        super().__init__(analytics_enabled=False, **options)
        self.uploads = uploads

    async def preprocess_data(self, block_fn: Any, inputs: Any, *args: Any, **options: Any) -> Any:
        """Checks the inputs of a call before gradio processes them."""
        inputs = check_inputs(block_fn.inputs, inputs, self.uploads)
        return await super().preprocess_data(block_fn, inputs, *args, **options)


def check_inputs(components: list[Any], values: Any, uploads: Uploads) -> list[Any]:
    """Returns the values of a call, checked against their components."""
    if not isinstance(values, list) or len(values) < len(components):
        raise _refusal(f"This function takes {len(components)} values.")
    # Further values are ignored.
    return [_checked(component, value, uploads) for component, value in zip(components, values, strict=False)]


def _checked(component: Any, value: Any, uploads: Uploads) -> Any:
    if isinstance(component, gr.State):
        return None  # gradio takes it from the session.
    if isinstance(component, gr.Audio):
        return None if value is None else _file(value, uploads)
    if isinstance(component, gr.File):
        files = [] if value is None else value if isinstance(value, list) else [value]
        return [_file(file, uploads) for file in files[:1000]] or None
    if isinstance(component, gr.Checkbox):
        if value is None or isinstance(value, bool):
            return bool(value)
    elif isinstance(component, gr.Number):
        low, high = component.minimum, component.maximum
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise _refusal(f"{component.label} is {str(value)[:40]!r}: give a number from {low} to {high}.")
    elif isinstance(component, gr.Dropdown):
        choices = [choice for _, choice in component.choices]
        if isinstance(value, str) and value in choices:
            return value
        raise _refusal(f"The {component.label} is not one of {', '.join(choices)}: {str(value)[:40]!r}.")
    raise _refusal(f"The value of {component.label or 'this function'} is invalid: {str(value)[:40]!r}.")


def _file(value: Any, uploads: Uploads) -> dict[str, Any]:
    path = value.get("path") if isinstance(value, dict) else value
    upload = uploads.find(path)
    if upload is None:
        is_url = isinstance(path, str) and path.startswith(("http://", "https://"))
        raise _refusal("URLs are not fetched: upload the sound itself." if is_url else GONE)
    return {
        "path": str(upload.path),
        "orig_name": upload.name,
        "size": upload.size,
        "meta": {"_type": "gradio.FileData"},
    }


def _refusal(sentence: str) -> gr.Error:
    return gr.Error(sentence, print_exception=False)


def for_programs(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps an endpoint so that it reports errors in one sentence, never with a traceback."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except SoundError as error:
            raise _refusal(str(error)) from None
        except Exception:
            traceback.print_exc()
            raise _refusal(APOLOGY) from None

    return guarded


def for_page(function: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    """Returns the result of a function, or `{"error": sentence}`, which the page shows instead."""
    try:
        return function(*args)
    except SoundError as error:
        return {"error": str(error)}
    except Exception:
        traceback.print_exc()
        return {"error": APOLOGY}
