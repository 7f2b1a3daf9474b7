"""Measure models: parameters, GMAC, time and memory; of recurrent ones the cost of several iterations.

Usage::

    python tools/benchmark.py dignet_resnet50_32s fcn_resnet50_32s --size 321 --iterations 2 --csv out.csv
    python tools/benchmark.py rignet_r50_pu --model-kwargs 'blocks=[-1]' --iterations 2 4 6
    python tools/benchmark.py --load dignet_resnet101_8s    # creation from a file, and the plain way
    python tools/benchmark.py --train CAMVID dignet_lite0_8s    # the trainer, and a bare loop over ready tensors
    python tools/benchmark.py --eval CAMVID dignet_lite0_8s     # a training's evaluation, and bare forward passes
    python tools/benchmark.py --recompute dignet_resnet50_8s --iterations 4    # memory of a training step
    python tools/benchmark.py gff_pspnet_r101 --against pspnet_r101 --size 512    # ratios of time and GMAC
    python tools/benchmark.py pspnet_r101 --peers --size 512    # with other libraries' networks, eager and exported
    python tools/benchmark.py --peers    # all families: gatezoo/models/peers.csv, the models' page and its chart
    python tools/benchmark.py --gpu    # absolute times on a GPU, of some networks or of NAMES, within 9 minutes
    python tools/benchmark.py --predict zigzag_lite0    # prepared for prediction, and as it is
    python tools/benchmark.py --optimize onnxruntime openvino -- zigzag_lite0    # backends, and eager
    python tools/benchmark.py --folder 200 zigzag_lite0    # files of a folder, and bare forward passes
    python tools/benchmark.py --hard depthgate_r50 --size 321    # gated pooling: soft, hard, and one convolution

Each time is the median of several runs. What is compared is run in turn, so that ratios hold on a machine whose speed
drifts. Memory is the peak of a fresh process minus that of its imports (Linux).
"""

from __future__ import annotations

import argparse
import csv
import functools
import sys
from pathlib import Path

import peers_page
import torch
from measuring.beside import measure_beside
from measuring.gpu import BUDGET, NAMES, measure_settings
from measuring.networks import measure, measure_against, measure_pooling
from measuring.prediction import measure_backends, measure_folder, measure_loading, measure_prediction
from measuring.training import measure_evaluation, measure_recomputing, measure_training
from peers import peer_networks
from rich.table import Table

import gatezoo
from gatezoo.cli.options import parse_kwargs
from gatezoo.cli.tables import table_console
from gatezoo.utils.allocator import disable_malloc_trim
from gatezoo.utils.devices import describe_device, resolve_device


def measure_on_gpu(names: list[str], args: argparse.Namespace) -> list[dict]:
    """Measure the settings of a GPU, or of --device, and print each row as it comes."""
    if not (args.device or torch.cuda.is_available()):
        sys.exit("--gpu requires a GPU that torch can use; this machine has none: try what it does with --device cpu")
    device = resolve_device(args.device or "cuda")
    print(describe_device(device))
    rows = []
    for size in args.size:
        for row in measure_settings(names, size, args.batch, args.repeats, device, budget=BUDGET / len(args.size)):
            print(*row.values(), flush=True)
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="models, or wildcards; --peers and --gpu have their own")
    parser.add_argument("--size", type=int, nargs="+", default=[321], help="sides of the square image")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--iterations", type=int, nargs="+", default=[2], help="iterations of recurrent networks")
    parser.add_argument(
        "--model-kwargs",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="keyword of the models, only without another measurement",
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", help="default: cpu; with --gpu: cuda")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--load", action="store_true", help="measure creating from a file instead")
    parser.add_argument("--train", type=Path, metavar="FOLDER", help="measure training on a folder laid out as CamVid")
    parser.add_argument("--eval", type=Path, metavar="FOLDER", help="measure a training's evaluation on such a folder")
    parser.add_argument("--against", metavar="NAME", help="measure in turn with this model, and print the ratios")
    parser.add_argument("--peers", action="store_true", help="measure in turn with other libraries' networks")
    parser.add_argument("--resume", action="store_true", help="of --peers without names: keep what its file has")
    parser.add_argument("--gpu", action="store_true", help="measure precisions, layouts and compilers on a GPU")
    parser.add_argument("--recompute", action="store_true", help="measure the memory of a training step")
    parser.add_argument("--hard", action="store_true", help="measure gated pooling with a soft and a hard gate")
    parser.add_argument("--predict", action="store_true", help="measure the prediction of an image")
    parser.add_argument("--optimize", nargs="+", metavar="BACKEND", help="measure backends of gatezoo.optimize")
    parser.add_argument("--folder", type=int, metavar="IMAGES", help="measure the prediction of a folder of images")
    parser.add_argument("--steps", type=int, default=20, help="steps of each measured training")
    parser.add_argument("--workers", type=int, default=1, help="workers of each measured training or evaluation")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    disable_malloc_trim()  # as the gatezoo command does: without it fresh pages are timed along
    model_kwargs = parse_kwargs(args.model_kwargs)
    if model_kwargs and (
        args.load
        or args.train
        or args.eval
        or args.hard
        or args.recompute
        or args.against
        or args.peers
        or args.gpu
        or args.predict
        or args.optimize
        or args.folder
    ):
        parser.error("--model-kwargs is only supported without another measurement: leave it out")
    if args.peers and not (args.names or args.against):
        beside = functools.partial(measure_beside, memory=not args.no_memory)
        peers_page.measure_page(beside, peers_page.GROUPS, args.csv or peers_page.CSV, args.resume)
        if not args.csv:
            peers_page.write_page()
        return
    names, device = args.names or (list(NAMES) if args.gpu else []), args.device or "cpu"
    task = "semantic" if args.gpu or args.peers else ""
    names = gatezoo.list_models(names, task=task)
    if not names:
        parser.error(f"no {task} model matches {' '.join(args.names)}" if args.names else "name a model, or wildcards")
    if args.load:
        rows = [measure_loading(name, args.repeats) for name in names]
    elif args.train:
        sizes = ((name, size) for name in names for size in args.size)
        rows = [measure_training(name, args.train, args.steps, args.batch, size, args.workers) for name, size in sizes]
    elif args.eval:
        rows = [measure_evaluation(name, args.eval, args.repeats, args.workers) for name in names]
    elif args.hard:
        sizes = ((name, size) for name in names for size in args.size)
        rows = [measure_pooling(name, size, args.batch, args.repeats, device) for name, size in sizes]
    elif args.predict:
        rows = [measure_prediction(name, size, args.repeats, device) for name in names for size in args.size]
    elif args.optimize:
        sizes = ((name, size) for name in names for size in args.size)
        each = (measure_backends(name, args.optimize, size, args.repeats, device) for name, size in sizes)
        rows = [row for some in each for row in some]
    elif args.folder:
        rows = [measure_folder(name, args.folder, size, args.repeats) for name in names for size in args.size]
    elif args.recompute:
        each = ((name, size, passes) for name in names for size in args.size for passes in args.iterations)
        rows = [measure_recomputing(name, args.batch, size, passes) for name, size, passes in each]
    elif args.gpu:
        rows = measure_on_gpu(names, args)
    elif args.peers:
        names = [args.against, *names] if args.against else names
        names += [f"{names[0]}/{peer}" for peer in peer_networks(names[0])]
        sizes = ((size, size) for size in args.size)
        rows = [row for size in sizes for row in measure_beside(names, size, args.repeats, not args.no_memory)]
    elif args.against:
        beside = (args.batch, args.repeats, device, not args.no_memory)
        rows = [row for size in args.size for row in measure_against([args.against, *names], size, *beside)]
    else:
        rows = [
            measure(name, model_kwargs, size, args.batch, passes, args.repeats, device, not args.no_memory)
            for name in names
            for size in args.size
            for passes in args.iterations
        ]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*columns)
    for row in rows:
        table.add_row(*(str(row.get(key, "")) for key in columns))
    table_console().print(table)
    if args.csv:
        with args.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
