"""The widgets of the Compare tab."""

from __future__ import annotations

import gradio as gr

from .answers import compute
from .comparing import compare
from .image_file import ImageFile
from .jobs import Jobs
from .models import ModelStore
from .segment_tab import require_file


def compare_tab(
    store: ModelStore, jobs: Jobs, file: gr.State, model: gr.Dropdown, choices: list[tuple[str, str]]
) -> None:
    """Add the widgets: the second model, a button, and the result."""
    other = gr.Dropdown(
        choices,
        value=choices[min(1, len(choices) - 1)][1],
        label="Model to compare with",
        allow_custom_value=not store.only,
        elem_id="other-model",
    )
    with gr.Row():
        run = gr.Button("Compare", variant="primary", elem_id="compare")
        cancel = gr.Button("Cancel", elem_id="compare-cancel", scale=0, min_width=120)
    view = gr.HTML(elem_id="compare-view")

    def predict(image: ImageFile | None, name: str | None, second: str | None) -> str:
        return compare(store.get(name), store.get(second), require_file(image))

    compute(run, cancel, jobs, predict, [file, model, other], [view])
