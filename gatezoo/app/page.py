"""The page: an image and a model for all tabs, and the tabs."""

from __future__ import annotations

from collections.abc import Mapping

import gradio as gr

from .answers import MAX_WAITING, answered
from .compare_tab import compare_tab
from .image_file import MAX_BYTES, MAX_PIXELS, ImageFile, sample_file, take_upload
from .jobs import Jobs
from .markup import escape, figure, img
from .models import ModelStore
from .passes_tab import passes_tab
from .samples import SAMPLES
from .segment_tab import segment_tab

TITLE = "gatezoo"
# Seconds between removals of files of the page that are older than that; an upload is deleted once it is read.
_DELETE_EVERY = 300


def build_page(store: ModelStore, titles: Mapping[str, str] | None = None, title: str = TITLE) -> gr.Blocks:
    """Build the page, which is not served yet.

    Args:
        store: networks that it offers.
        titles: shown in place of a network's name.
        title: of the page.
    """
    choices = [((titles or {}).get(name, name), name) for name in store.names]
    jobs, first = Jobs(), sample_file(next(iter(SAMPLES)))
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(_DELETE_EVERY, _DELETE_EVERY)) as page:
        gr.Markdown(f"# {title}")
        # Empty until the page is loaded, and again once the session is forgotten: never an image that is not shown.
        image = gr.State(time_to_live=3600)
        with gr.Row():
            with gr.Column(min_width=280):
                upload = gr.File(
                    label=f"Image, up to {MAX_BYTES // 10**6} MB and {MAX_PIXELS // 10**6} megapixels",
                    file_types=["image"],
                    height=140,
                    elem_id="upload",
                )
                sample = gr.Radio(list(SAMPLES), value=next(iter(SAMPLES)), label="Drawn samples", elem_id="sample")
                model = gr.Dropdown(
                    choices,
                    value=choices[0][1],
                    label="Model" if store.only else "Model, or any name that gatezoo predict takes",
                    allow_custom_value=not store.only,
                    elem_id="model",
                )
            with gr.Column(min_width=280):
                preview = gr.HTML(_preview(first), elem_id="preview", elem_classes="preview")
        with gr.Tab("Segment", id="segment"):
            segment_tab(store, jobs, image, model)
        with gr.Tab("Passes and gates", id="passes"):
            passes_tab(store, jobs, image, model)
        with gr.Tab("Compare", id="compare"):
            compare_tab(store, jobs, image, model, choices)

        @answered
        def take(path: str) -> tuple:
            try:
                taken = take_upload(path)
            except ValueError as error:
                # An error of the handler would leave the refused file where the next one is dropped.
                gr.Warning(escape(" ".join(str(error).split())), title="Error")
                return gr.skip(), gr.skip(), None, gr.skip()
            return taken, _preview(taken), None, None

        @answered
        def draw(name: str) -> tuple:
            drawn = sample_file(name)
            return drawn, _preview(drawn)

        def leave(request: gr.Request) -> None:
            jobs.stop(str(request.session_hash))

        upload.upload(take, upload, [image, preview, upload, sample], concurrency_limit=2, api_visibility="private")
        sample.input(draw, sample, [image, preview], concurrency_limit=None, api_visibility="private")
        page.load(lambda: first, None, image, show_progress="hidden", api_visibility="private")
        page.unload(leave)
    return page.queue(max_size=MAX_WAITING)


def _preview(image: ImageFile) -> str:
    shown = image.shown()
    shown.thumbnail((480, 480))
    return figure(img(shown, image.name), image.name)
