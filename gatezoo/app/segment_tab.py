"""The widgets of the Segment tab."""

from __future__ import annotations

import gradio as gr

from ..inference.instance import SCORE_THRESHOLD
from .answers import answered, compute
from .image_file import ImageFile
from .jobs import Jobs
from .models import MIN_SCORE, ModelStore
from .segmenting import FoundInstances, instances_view, segment
from .style import SET_OPACITY


def segment_tab(store: ModelStore, jobs: Jobs, file: gr.State, model: gr.Dropdown) -> None:
    """Add the widgets: a button, sliders of opacity and score, and the result."""
    with gr.Row():
        run = gr.Button("Segment", variant="primary", elem_id="segment")
        cancel = gr.Button("Cancel", elem_id="segment-cancel", scale=0, min_width=120)
    with gr.Row():
        opacity = gr.Slider(0, 1, 0.55, step=0.05, label="Opacity of the colors", elem_id="opacity")
        score = gr.Slider(MIN_SCORE, 0.95, SCORE_THRESHOLD, step=0.05, label="Least score", visible=False)
    view = gr.HTML(elem_id="segment-view")
    found = gr.State(time_to_live=1800)

    def predict(image: ImageFile | None, name: str | None) -> tuple:
        html, instances = segment(store.get(name), require_file(image))
        return html, instances, gr.Slider(value=SCORE_THRESHOLD, visible=instances is not None)

    @answered
    def choose(instances: FoundInstances | None, least: float) -> str:
        if instances is None:
            raise ValueError("instances must be found before they can be chosen; they were not: press Segment")
        return instances_view(instances, least)

    compute(run, cancel, jobs, predict, [file, model], [view, found, score])
    opacity.change(None, opacity, None, js=SET_OPACITY)
    score.input(
        choose,
        [found, score],
        view,
        trigger_mode="always_last",
        show_progress="hidden",
        concurrency_limit=None,
        api_visibility="private",
    )


def require_file(image: ImageFile | None) -> ImageFile:
    """Return the image.

    Raises:
        ValueError: none was chosen.
    """
    if image is None:
        raise ValueError("an image must be chosen; got none: upload one or take a sample")
    return image
