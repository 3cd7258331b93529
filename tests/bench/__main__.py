"""Print one table of times, ratios and peak memory. Set OMP_NUM_THREADS to bound the threads of everything in it."""

from __future__ import annotations

import argparse
import platform
import sys

import torch

from tests.bench import claims, layer_pairs, neighbours, probes
from tests.bench.measure import interleaved, peak_here, peak_of, table

ITEMS = {
    "vit_b": lambda a: layer_pairs.vit_b(a.images, a.batch, a.peer_minibatches),
    "embedded": lambda a: layer_pairs.embedded(a.embedded_images, a.peer_minibatches),
    "product": lambda _: layer_pairs.product(),
    "knn": lambda _: neighbours.item(8192, 2048, 64),
    "knn_large": lambda a: neighbours.item(*a.knn_large),
    "probes": lambda _: probes.item(2048, 64),
    "probes_wide": lambda _: probes.item(2048, 832),
    "claims": lambda _: claims.item(),
}


def main(arguments: list[str]) -> None:
    """Measure the chosen items, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--items", nargs="+", choices=ITEMS, default=list(ITEMS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=64, help="of vit_b, a multiple of 32")
    parser.add_argument("--batch", type=int, default=64, help="of vit_b, a multiple of 32")
    parser.add_argument("--embedded-images", type=int, default=256, help="a multiple of 256")
    parser.add_argument("--peer-minibatches", type=int, default=1, help="that peers see of one pair; the rest is scaled")
    parser.add_argument("--knn-large", type=int, nargs=3, default=[50_000, 5_000, 768], metavar=("BANK", "QUERIES", "DIMS"))
    parser.add_argument("--no-memory", action="store_true", help="skip the processes that measure peak memory")
    parser.add_argument("--peak", nargs=2, metavar=("ITEM", "ENTRY"), help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.peak:
        name, wanted = chosen.peak
        for entry in ITEMS[name](chosen).entries:
            if entry.name == wanted:
                entry.run()
        print(peak_here())
        return
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__};", end=" "
    )
    print(f"the best of {chosen.repeats} interleaved repeats; cpu: of all threads; peak: the whole process, inputs included")
    for name in chosen.items:
        item = ITEMS[name](chosen)
        measured = interleaved(item.entries, chosen.repeats)
        peaks = {} if chosen.no_memory or not item.here else {e.name: peak_of(arguments, name, e.name) for e in item.entries}
        print("\n" + table(item, measured, peaks), flush=True)


main(sys.argv[1:])
