"""Networks from a file, the prediction of an image and of a folder of images."""

from __future__ import annotations

import functools
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import gatezoo
from gatezoo.inference.semantic_files import SemanticWriter
from gatezoo.inference.writers import write_predictions

from .timing import medians


def measure_loading(name: str, repeats: int) -> dict:
    """Measure the seconds to read a checkpoint, to create a network from it, and to do so the plain way."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        model = gatezoo.create_model(name)
        save_file(model.state_dict(), path)

        def read():
            return {key: value.clone() for key, value in load_file(path).items()}

        def ours():
            # Left out, it would be that of the published weights, if any.
            gatezoo.create_model(name, num_classes=model.num_classes, checkpoint_path=path)

        def plain():
            gatezoo.model_entrypoint(name)().load_state_dict(load_file(path))

        calls = [read, ours, plain]
        times = dict(zip(("read_s", "create_model_s", "plain_s"), medians(calls, repeats, "cpu")))
    return {"model": name, **{key: round(value, 3) for key, value in times.items()}}


def measure_prediction(name: str, size: int, repeats: int, device: str) -> dict:
    """Measure the prediction of an image by a network as it is and prepared, and the greatest change of probability.

    "pays_from" is the number of images from which preparing takes less time than it saves.
    """
    torch.manual_seed(0)
    model = gatezoo.create_model(name).eval().to(device)
    image = torch.randint(256, (3, size, size), dtype=torch.uint8)
    depth = np.full((size, size), 2.0, np.float32) if model.takes_depth else None
    predictors = [gatezoo.Predictor(model, shared=True), gatezoo.Predictor(model)]
    calls = [functools.partial(one.predict, image, depth) for one in predictors]
    plain, prepared, preparing = medians([*calls, lambda: gatezoo.Predictor(model)], repeats, device)
    maps = [one.predict(image, depth, probabilities=True).probabilities for one in predictors]
    row = {"model": name, "size": size, "plain_ms": round(1000 * plain, 2), "prepared_ms": round(1000 * prepared, 2)}
    row |= {"ratio": round(prepared / plain, 3), "change": f"{abs(maps[0] - maps[1]).max():.1e}"}
    pays = round(preparing / (plain - prepared), 1) if prepared < plain else "never"
    return row | {"prepare_ms": round(1000 * preparing, 2), "pays_from": pays}


@torch.inference_mode()
def measure_backends(name: str, backends: list[str], size: int, repeats: int, device: str) -> list[dict]:
    """Measure the call of a network as it is, and on backends of ``gatezoo.optimize``, in turn; ratios to the first."""
    torch.manual_seed(0)
    model, rows, calls = gatezoo.create_model(name).eval().to(device), [], []
    image = torch.randn(1, model.in_chans, size, size, device=device).contiguous(memory_format=torch.channels_last)
    expected = model(image)
    for backend in (None, *backends):
        began = time.perf_counter()
        network = gatezoo.optimize(model, backend) if backend else model
        change = (network(image) - expected).abs().max() / expected.abs().max()
        row = {"model": name, "size": size, "backend": backend or "as it is", "change": f"{change:.1e}"}
        rows.append(row | {"ready_s": round(time.perf_counter() - began, 1)})
        calls.append(functools.partial(network, image))
    times = medians(calls, repeats, device)
    return [
        row | {"ms": round(1000 * seconds, 2), "ratio": round(seconds / times[0], 3)}
        for row, seconds in zip(rows, times)
    ]


def measure_folder(name: str, count: int, size: int, repeats: int) -> dict:
    """Measure the seconds of writing the predictions of image files, and of the bare forward passes in memory."""
    model, random = gatezoo.create_model(name).eval(), np.random.default_rng(0)
    predictor = gatezoo.Predictor(model)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.jpg" for number in range(count)]
        for path in paths:
            coarse = Image.fromarray(random.integers(0, 256, (size // 16, size // 16, 3), dtype=np.uint8))
            coarse.resize((size, size), Image.Resampling.BICUBIC).save(path)
        batch = model.make_normalize()(predictor.read(paths[0])[None]).contiguous(memory_format=torch.channels_last)

        def files() -> None:
            for _ in write_predictions(SemanticWriter(predictor), paths, Path(folder) / "out"):
                pass

        @torch.inference_mode()
        def bare() -> None:
            for _ in paths:
                predictor.model(batch)

        ours, plain = medians([files, bare], repeats, "cpu")
    row = {"model": name, "size": size, "images": count, "folder_s": round(ours, 2), "forward_s": round(plain, 2)}
    return row | {"ratio": round(ours / plain, 3)}
