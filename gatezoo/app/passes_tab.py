"""The widgets of the tab of passes and gates."""

from __future__ import annotations

from typing import Any

import gradio as gr

from .answers import answered, as_job, compute
from .exploring import MAX_PASSES, Exploration, close_gates, closed_view, explore, passes_view, pixel_view
from .image_file import ImageFile
from .jobs import Jobs
from .models import ModelStore
from .segment_tab import require_file
from .style import CLICK_PIXEL


def passes_tab(store: ModelStore, jobs: Jobs, file: gr.State, model: gr.Dropdown) -> None:
    """Add the widgets: a slider over the passes, their maps, boxes to close gates, and the reading of a pixel."""
    with gr.Row():
        run = gr.Button("Run the passes", variant="primary", elem_id="passes")
        cancel = gr.Button("Cancel", elem_id="passes-cancel", scale=0, min_width=120)
    number = gr.Slider(1, MAX_PASSES, 2, step=1, label="Passes T", visible=False, elem_id="passes-number")
    view = gr.HTML(elem_id="passes-view", elem_classes="clickable", js_on_load=CLICK_PIXEL)
    closed = gr.CheckboxGroup([], label="Close gates", visible=False, elem_id="passes-closed")
    without = gr.HTML(elem_id="closed-view")
    with gr.Row(visible=False, equal_height=True) as reading:
        x = gr.Number(0, label="Pixel: x from the left", precision=0, minimum=0, elem_id="pixel-x", min_width=120)
        y = gr.Number(0, label="Pixel: y from the top", precision=0, minimum=0, elem_id="pixel-y", min_width=120)
        read = gr.Button("Read the pixel", elem_id="pixel-read", min_width=120)
    pixel = gr.HTML(elem_id="pixel-view")
    state = gr.State(time_to_live=1800)

    def run_passes(image: ImageFile | None, name: str | None) -> tuple:
        loaded = store.get(name)
        found = explore(loaded, require_file(image))
        count = len(found.passes)
        return (
            passes_view(loaded, found, count),
            found,
            gr.Slider(value=count, visible="iterations" in loaded.semantic().model.capabilities),
            gr.CheckboxGroup(found.closable, value=[], visible=bool(found.closable)),
            gr.Row(visible=True),
            "",
            "",
        )

    def show_passes(found: Exploration | None, count: int, names: list[str]) -> tuple:
        found = _require(found)
        loaded = store.get(found.model)
        # A pass of a network that can stop after any is the same whatever follows it.
        if count > len(found.passes) or "anytime" not in loaded.semantic().model.capabilities or names:
            found = close_gates(loaded, explore(loaded, found.file, count), names)
        return passes_view(loaded, found, count), found, closed_view(loaded, found), ""

    def close(found: Exploration | None, count: int, names: list[str]) -> tuple:
        found = _require(found)
        loaded = store.get(found.model)
        if count != len(found.passes) and "iterations" in loaded.semantic().model.capabilities:
            found = explore(loaded, found.file, count)
        found = close_gates(loaded, found, names)
        return found, closed_view(loaded, found), ""

    def read_pixel(found: Exploration | None, column: int | None, row: int | None) -> str:
        found = _require(found)
        return pixel_view(store.get(found.model), found, int(column or 0), int(row or 0))

    @answered
    def click_pixel(found: Exploration | None, event: gr.EventData) -> tuple:
        data: Any = event
        found = _require(found)
        height, width = found.image.shape[-2:]
        column, row = (min(int(share * side), side - 1) for share, side in ((data.x, width), (data.y, height)))
        return column, row, pixel_view(store.get(found.model), found, column, row)

    compute(run, cancel, jobs, run_passes, [file, model], [view, state, number, closed, reading, without, pixel])
    queued: dict[str, Any] = {"concurrency_limit": 2, "concurrency_id": "compute", "trigger_mode": "always_last"}
    private: dict[str, Any] = {"api_visibility": "private"}
    number.input(as_job(jobs, show_passes), [state, number, closed], [view, state, without, pixel], **queued, **private)
    closed.input(as_job(jobs, close), [state, number, closed], [state, without, pixel], **queued, **private)
    quick: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden", **private}
    read.click(answered(read_pixel), [state, x, y], pixel, **quick)
    view.submit(click_pixel, state, [x, y, pixel], **quick)


def _require(found: Exploration | None) -> Exploration:
    """Return the passes over an image.

    Raises:
        ValueError: they were not run, or the session was forgotten.
    """
    if found is None:
        raise ValueError("the passes must be run before they can be looked at; they were not: press Run the passes")
    return found
