"""Measure models: parameters, GMAC, time and memory; for gated ones the cost of passes beside its GMAC.

    python tools/benchmark.py dignet_resnet50_32s fcn_resnet50_32s --size 321 --iterations 2 --csv out.csv
    python tools/benchmark.py --load dignet_resnet101_8s    # creating a network from a file, and the plain way

Each time is the median of several, the runs with 1 and T passes taken in turn so that their ratio holds on a machine
whose speed drifts. Memory is the most that a fresh process needs beyond the imports (Linux).
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file

import gatezoo
from gatezoo.describe import gmacs, on_meta, parameters
from gatezoo.segmenter import RecurrentSegmenter


def timed(call: Callable[[], object], device: str) -> float:
    """Seconds of one call."""
    if device != "cpu":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def medians(calls: list[Callable[[], object]], repeats: int, device: str) -> list[float]:
    """Median seconds of each call, taken in turn after a warm-up."""
    for call in calls:
        call()
    rounds = [[timed(call, device) for call in calls] for _ in range(repeats)]
    return [statistics.median(times) for times in zip(*rounds)]


def peak_memory(name: str, batch: int, size: int, iterations: int | None) -> float:
    """MiB that building and running the network adds to a fresh process."""
    code = f"from tools.benchmark import run_once; run_once({name!r}, {batch}, {size}, {iterations})"
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)
    return float(done.stdout)


def run_once(name: str, batch: int, size: int, iterations: int | None) -> None:
    def status(field: str) -> float:
        (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) / 1024

    Path("/proc/self/clear_refs").write_text("5")  # forget the peak that the imports made
    before = status("VmRSS")
    model = gatezoo.create_model(name).eval()
    with torch.inference_mode():
        model(torch.randn(batch, 3, size, size), **({} if iterations is None else {"iterations": iterations}))
    print(status("VmHWM") - before)


@torch.inference_mode()
def measure(name: str, size: int, batch: int, iterations: int, repeats: int, device: str, memory: bool) -> dict:
    """One row of the table."""
    meta = on_meta(name)
    gated = isinstance(meta, RecurrentSegmenter)
    passes = {"iterations": iterations} if gated else {}
    counts = gmacs(meta, size, size, **passes)
    row = {
        "model": name,
        "size": size,
        "batch": batch,
        "iterations": iterations if gated else "",
        "params_m": round(parameters(meta) / 1e6, 3),
        "gmac": round(counts, 2),
    }
    model = gatezoo.create_model(name).eval().to(device)
    image = torch.randn(batch, 3, size, size, device=device)
    calls = [lambda: model(image, **passes)]
    if gated:
        calls.append(lambda: model(image, iterations=1))
    whole, *once = medians(calls, repeats, device)
    row["ms_per_image"] = round(1000 * whole / batch, 2)
    if memory:
        row["peak_mib"] = round(peak_memory(name, batch, size, iterations if gated else None))
    if gated:
        row["time_ratio"] = round(whole / once[0], 3)
        row["gmac_ratio"] = round(counts / gmacs(meta, size, size, iterations=1), 3)
    return row


def measure_loading(name: str, repeats: int) -> dict:
    """Seconds to read a checkpoint, to create the network from it, and to do so the plain way."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_file(gatezoo.create_model(name).state_dict(), path)

        def read():
            return {key: value.clone() for key, value in load_file(path).items()}

        def plain():
            model = gatezoo.model_entrypoint(name)()
            model.load_state_dict(load_file(path))

        calls = [read, lambda: gatezoo.create_model(name, checkpoint_path=path), plain]
        reading, ours, usual = medians(calls, repeats, "cpu")
    figures = {"read_s": reading, "create_model_s": ours, "plain_s": usual}
    return {"model": name, **{key: round(value, 3) for key, value in figures.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", help="models, or wildcards")
    parser.add_argument("--size", type=int, nargs="+", default=[321], help="sides of the square picture")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--load", action="store_true", help="measure creating from a file instead")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    names = gatezoo.list_models(args.names)
    if not names:
        parser.error(f"no model matches {' '.join(args.names)}")
    if args.load:
        rows = [measure_loading(name, args.repeats) for name in names]
    else:
        rows = [
            measure(name, size, args.batch, args.iterations, args.repeats, args.device, not args.no_memory)
            for name in names
            for size in args.size
        ]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*columns)
    for row in rows:
        table.add_row(*(str(row.get(key, "")) for key in columns))
    Console().print(table)
    if args.csv:
        with args.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
